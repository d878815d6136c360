// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/frontend/process"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/nodecheck"
)

// The kinds of findings about frontends.
const (
	kindFrontendDown    = "frontend-down"
	kindFrontendDiffers = "frontend-differs"
	kindFrontendRoute   = "frontend-route-missing"
	kindSessionDown     = "session-down"
)

// told is what the process of a frontend was told last.
type told struct {
	config frontend.Config
	err    error
}

// frontend compares what the frontend is to do with what its process says that it
// does, and that with the kernel.
func (c checker) frontend(ctx context.Context, repair bool) ([]nodecheck.Finding, error) {
	f := c.front
	f.mu.Lock()
	speaker, want, problem := f.speaker, f.want, f.problem
	f.mu.Unlock()
	if !spoken(want) {
		return nil, nil
	}
	if speaker == nil {
		finding := c.finding(kindFrontendDown, nodecheck.Error, "nobody speaks to the gateways: "+problem)
		if repair {
			finding.mend(c.SetFrontend(ctx, want))
		}
		return []nodecheck.Finding{finding.Finding}, nil
	}
	before := f.toldNow()
	config, status, err := c.ask(ctx, speaker)
	if err != nil {
		finding := c.finding(kindFrontendDown, nodecheck.Error, "the frontend's process does not answer: "+err.Error())
		if repair {
			ctx, cancel := context.WithTimeout(ctx, publishLimit)
			defer cancel()
			finding.mend(speaker.Restart(ctx))
		}
		return []nodecheck.Finding{finding.Finding}, nil
	}
	found := c.differences(ctx, before, config, repair)
	missing, err := c.missing(ctx, speaker, config, status)
	for _, what := range missing {
		finding := c.finding(kindFrontendRoute, nodecheck.Error, "the namespace lacks "+what)
		if repair {
			finding.mend(f.apply(ctx))
		}
		found = append(found, finding.Finding)
	}
	return append(found, c.sessions(status)...), err
}

func (c checker) ask(ctx context.Context, speaker *process.Process) (frontend.Config, frontend.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	return speaker.Ask(ctx)
}

// toldNow is nil while the process is being told something.
func (f *front) toldNow() *told {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told
}

// differences are those between what the process was told and what it says. A
// change on its way is none.
func (c checker) differences(ctx context.Context, wanted *told, recorded frontend.Config, repair bool) []nodecheck.Finding {
	if wanted == nil || wanted != c.front.toldNow() {
		return nil
	}
	what := process.Differences(wanted.config, recorded)
	if wanted.err == nil && len(what) == 0 {
		return nil
	}
	message := "the frontend's process does otherwise: " + strings.Join(what, ", ")
	if wanted.err != nil {
		message = "the frontend's process has refused what it is to do: " + wanted.err.Error()
	}
	finding := c.finding(kindFrontendDiffers, nodecheck.Error, message)
	finding.Wanted, finding.Recorded = shortly(wanted.config), shortly(recorded)
	if repair {
		finding.mend(c.front.apply(ctx))
	}
	return []nodecheck.Finding{finding.Finding}
}

func shortly(c frontend.Config) string {
	return fmt.Sprintf("%d gateways, announced %v", len(c.Gateways), c.Announce)
}

// missing is what the kernel lacks before and after the process is asked again:
// what it changes meanwhile is no difference.
func (c checker) missing(ctx context.Context, speaker *process.Process, config frontend.Config, status frontend.Status) (missing []string, err error) {
	look := func() (found []string, err error) {
		err = nl.Do(c.config.NetNS, func(h *nl.Handle) (err error) {
			found, err = frontend.Missing(h, config, status)
			return err
		})
		return found, err
	}
	first, err := look()
	if err != nil || len(first) == 0 {
		return nil, err
	}
	if config, status, err = c.ask(ctx, speaker); err != nil {
		return nil, err
	}
	second, err := look()
	return slices.DeleteFunc(second, func(what string) bool { return !slices.Contains(first, what) }), err
}

// sessions are the gateways that are not up. The other side may have to be mended.
func (c checker) sessions(status frontend.Status) (found []nodecheck.Finding) {
	for _, g := range status.Gateways {
		if !g.Up {
			finding := c.finding(kindSessionDown, nodecheck.Warning, fmt.Sprintf("gateway %s is not up: %s", g.Name, g.Reason))
			finding.Object += " gateway " + g.Name
			found = append(found, finding.Finding)
		}
	}
	return found
}

type frontFinding struct{ nodecheck.Finding }

func (c checker) finding(kind string, severity nodecheck.Severity, message string) frontFinding {
	return frontFinding{nodecheck.Finding{Kind: kind, Severity: severity, Object: c.object(), Message: message}}
}

func (f *frontFinding) mend(err error) {
	f.Repaired = err == nil
	if err != nil && !errors.Is(err, context.Canceled) {
		f.Message += ": " + err.Error()
	}
}
