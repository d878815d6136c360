// SPDX-License-Identifier: Apache-2.0

package fd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
)

// files are the descriptors received during one Request, by inode URL.
type files struct {
	mu    sync.Mutex
	byURL map[string]*os.File
}

type filesKey struct{}

func withFiles(ctx context.Context, f *files) context.Context {
	return context.WithValue(ctx, filesKey{}, f)
}

func filesOf(ctx context.Context) *files {
	f, _ := ctx.Value(filesKey{}).(*files)
	return f
}

func (f *files) get(text string) *os.File {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byURL[text]
}

// put keeps the first file of a URL.
func (f *files) put(text string, file *os.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byURL[text] != nil {
		_ = file.Close()
		return
	}
	f.byURL[text] = file
}

func (f *files) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.byURL {
		_ = file.Close()
	}
	f.byURL = nil
}

// Path returns a path that opens the file behind a namespace URL: that of a
// file:// URL, or that of a descriptor which came with the Request of ctx. The
// latter is valid until the Request returns.
func Path(ctx context.Context, text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q is not a URL: %w", text, errors.Unwrap(err))
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return u.Path, nil
	case u.Scheme == "file":
		return "", fmt.Errorf("%q: want file:///absolute/path", text)
	case u.Scheme != "inode":
		return "", fmt.Errorf("%q: scheme must be file or inode", text)
	}
	if _, err := parseInode(text); err != nil {
		return "", err
	}
	if file := filesOf(ctx).get(text); file != nil {
		return file.Name(), nil
	}
	return "", fmt.Errorf("%q: no descriptor came with the request", text)
}

func mechanismsOf(request *networkservice.NetworkServiceRequest) []*networkservice.Mechanism {
	all := append([]*networkservice.Mechanism(nil), request.GetMechanismPreferences()...)
	if m := request.GetConnection().GetMechanism(); m != nil {
		all = append(all, m)
	}
	return all
}

func inodeURLOf(m *networkservice.Mechanism) string { return m.GetParameters()[common.InodeURL] }

func isInode(text string) bool { return strings.HasPrefix(text, "inode:") }
func isFile(text string) bool  { return strings.HasPrefix(text, "file:") }
