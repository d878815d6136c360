// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/internal/resource/compile"
)

// lookEvery is how often the files are looked at for changes. Looking works
// where notifications do not: over network file systems, and for directories
// that Kubernetes replaces as a whole.
const lookEvery = time.Second

// Resources are the manifests of a file or directory. The set that was accepted
// last stays in force while a newer one is not valid.
type Resources struct {
	path            string
	trench, conduit string
	store           *resource.Store
	log             *slog.Logger
	seen            []stamp
}

// stamp tells versions of a file apart.
type stamp struct {
	name  string
	size  int64
	mtime time.Time
	inode uint64
}

func (s stamp) equal(other stamp) bool {
	return s.name == other.name && s.size == other.size && s.inode == other.inode && s.mtime.Equal(other.mtime)
}

// OpenResources reads the manifests at path for a conduit's load balancers. A
// set that is not valid is an error: an endpoint never starts with fewer rules
// than were meant.
func OpenResources(path, trench, conduit string, log *slog.Logger) (*Resources, error) {
	store, err := resource.Open("")
	if err != nil {
		return nil, err
	}
	r := &Resources{path: path, trench: trench, conduit: conduit, store: store, log: log}
	r.seen, _ = r.look()
	return r, r.apply()
}

// Balance returns what the conduit's load balancers are to do. A conduit that
// the manifests do not have balances nothing.
func (r *Resources) Balance() (balancer.Config, error) {
	config, err := compile.Balancer(r.store.Snapshot(), r.trench, r.conduit)
	if errors.Is(err, resource.ErrNotFound) {
		return balancer.Config{}, nil
	}
	if err != nil {
		return balancer.Config{}, err
	}
	return *config, nil
}

// Follow calls set with what the manifests say, now and when they change: at a
// signal on reload, or when their files look different. It returns when ctx
// ends.
func (r *Resources) Follow(ctx context.Context, reload <-chan os.Signal, set func(context.Context, balancer.Config) error) {
	var following sync.WaitGroup
	defer following.Wait()
	report := func(_ *resource.Snapshot, err error) {
		if err != nil {
			r.log.Error("resources are not in force", "path", r.path, "err", err)
		}
	}
	following.Go(func() { _ = compile.Follow(ctx, r.store, r.trench, r.conduit, set, report) })
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		forced := false
		select {
		case <-ctx.Done():
			return
		case <-reload:
			forced = true
		case <-ticker.C:
		}
		now, err := r.look()
		if !forced && (err != nil || slices.EqualFunc(now, r.seen, stamp.equal)) {
			continue
		}
		r.seen = now
		if err := r.apply(); err != nil {
			r.log.Error("resources are not valid, those before stay in force", "path", r.path, "err", err)
			continue
		}
		r.log.Info("resources are read", "path", r.path, "objects", r.store.Snapshot().Len())
	}
}

// FollowFrontend calls set with what the frontend of a replica is to do, now and
// when that changes, until ctx ends.
func (r *Resources) FollowFrontend(ctx context.Context, replica, secretsDir string, set func(context.Context, *compile.Frontend) error) {
	failed := ""
	_ = compile.FollowFrontend(ctx, r.store, r.trench, r.conduit, replica, compile.SecretDir(secretsDir),
		func(ctx context.Context, want *compile.Frontend) error {
			err := set(ctx, want)
			if err != nil && err.Error() != failed {
				r.log.Error("the frontend is not in force", "err", err)
				failed = err.Error()
			}
			if want != nil {
				for gateway, why := range want.Withheld {
					r.log.Warn("gateway is not spoken to", "gateway", gateway, "err", why)
				}
			}
			return err
		})
}

// apply reads the manifests into the store, all or none.
func (r *Resources) apply() error {
	names, err := r.names()
	if err != nil {
		return err
	}
	files := make([]resource.File, len(names))
	for i, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files[i] = resource.File{Name: name, Data: data}
	}
	result, err := r.store.Apply(files, resource.ApplyOptions{Prune: true})
	for _, warning := range result.Warnings {
		r.log.Warn("resources", "problem", warning)
	}
	return err
}

func (r *Resources) names() ([]string, error) {
	info, err := os.Stat(r.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{r.path}, nil
	}
	var names []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, err := filepath.Glob(filepath.Join(escape(r.path), pattern))
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("directory %s has no .yaml or .yml file", r.path)
	}
	slices.Sort(names)
	return names, nil
}

// escape makes a path a glob pattern for itself.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func (r *Resources) look() ([]stamp, error) {
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	stamps := make([]stamp, len(names))
	for i, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		stamps[i] = stamp{name: name, size: info.Size(), mtime: info.ModTime()}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			stamps[i].inode = stat.Ino
		}
	}
	return stamps, nil
}
