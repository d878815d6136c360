// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

type getOptions struct {
	kind              string // empty: all
	names             []string
	namespace, trench string
}

func (a *app) getCommand() *cobra.Command {
	var o getOptions
	var watch bool
	cmd := &cobra.Command{
		Use:   "get KIND|all [NAME...]",
		Short: "Show resources",
		Long: `Show resources: trench, conduit, stream, vip, flow, gateway or attractor, or all
of them. The output of -o yaml can be applied again. "weft get attachments" is
"weft attachment show --admin".`,
		Example: `  weft get flows
  weft get flow web -n trench-a -o yaml
  weft get all --trench trench-a -o wide
  weft get streams --watch`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if isAttachment(args[0]) {
				return a.getAttachments(cmd.Context(), args[1:], watch)
			}
			if !strings.EqualFold(args[0], "all") {
				kind, err := parseKind(args[0])
				if err != nil {
					return err
				}
				o.kind = kind
			}
			o.names = args[1:]
			if watch {
				return a.watchResources(cmd.Context(), o)
			}
			return a.get(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.namespace, "namespace", "n", "", "only this namespace")
	flags.StringVar(&o.trench, "trench", "", "only this trench and what belongs to it")
	flags.BoolVarP(&watch, "watch", "w", false, "go on and show every change")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) get(ctx context.Context, o getOptions) error {
	return a.withDaemon(ctx, func(ctx context.Context, client daemonv1.DaemonClient) error {
		ctx, cancel := a.call(ctx)
		defer cancel()
		resp, err := client.List(ctx, &daemonv1.ListRequest{Kind: o.kind, Namespace: o.namespace, Trench: o.trench})
		if err != nil {
			return err
		}
		objects, err := decodeObjects(resp.GetObjects())
		if err != nil {
			return err
		}
		if objects, err = o.pick(objects); err != nil {
			return err
		}
		return a.printObjects(objects, len(o.names) == 1)
	})
}

// pick returns the objects with the names asked for, all if there are none. A
// name that nothing has is an error.
func (o getOptions) pick(objects []v1alpha1.Object) ([]v1alpha1.Object, error) {
	if len(o.names) == 0 {
		return objects, nil
	}
	var out []v1alpha1.Object
	found := map[string]bool{}
	for _, object := range objects {
		if name := object.GetMeta().Name; slices.Contains(o.names, name) {
			out = append(out, object)
			found[name] = true
		}
	}
	for _, name := range o.names {
		if !found[name] {
			kind := strings.ToLower(o.kind)
			if kind == "" {
				kind = "object"
			}
			return nil, fmt.Errorf("there is no %s %q%s", kind, name, o.where())
		}
	}
	return out, nil
}

func (o getOptions) where() string {
	s := ""
	if o.trench != "" {
		s += fmt.Sprintf(" in trench %q", o.trench)
	}
	if o.namespace != "" {
		s += fmt.Sprintf(" in namespace %q", o.namespace)
	}
	return s
}

func decodeObjects(in []*daemonv1.Object) ([]v1alpha1.Object, error) {
	var out []v1alpha1.Object
	for _, o := range in {
		info, ok := v1alpha1.LookupKind(o.GetKey().GetKind())
		if !ok {
			return nil, fmt.Errorf("the daemon has an object of kind %q, which this weft does not know", o.GetKey().GetKind())
		}
		object := info.New()
		if err := json.Unmarshal(o.GetJson(), object); err != nil {
			return nil, fmt.Errorf("decode %s %s: %w", info.Kind, o.GetKey().GetName(), err)
		}
		out = append(out, object)
	}
	return out, nil
}

// list is Kubernetes' List, which "weft apply" reads too.
type list struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      any    `json:"items"`
}

func newList[T any](items []T) list {
	if items == nil {
		items = []T{}
	}
	return list{APIVersion: "v1", Kind: "List", Items: items}
}

// printObjects prints objects; one that was asked for by name is not printed as
// a list.
func (a *app) printObjects(objects []v1alpha1.Object, single bool) error {
	if !a.format.Human() {
		if single && len(objects) == 1 {
			return a.format.Write(a.env.Stdout, objects[0])
		}
		return a.format.Write(a.env.Stdout, newList(objects))
	}
	if len(objects) == 0 {
		_, err := fmt.Fprintln(a.env.Stderr, "no resources found")
		return err
	}
	for start := 0; start < len(objects); {
		kind := objects[start].GetType().Kind
		end := start
		for end < len(objects) && objects[end].GetType().Kind == kind {
			end++
		}
		if start > 0 {
			if _, err := fmt.Fprintln(a.env.Stdout); err != nil {
				return err
			}
		}
		t := resourceTable(kind, objects[start:end], a.format == cli.FormatWide)
		if err := t.Print(a.env.Stdout, a.env.Color()); err != nil {
			return err
		}
		start = end
	}
	return nil
}

type resourceEvent struct {
	Type   string          `json:"type"`
	Object v1alpha1.Object `json:"object"`
}

func (a *app) watchResources(ctx context.Context, o getOptions) error {
	if len(o.names) > 1 {
		return cli.Usagef("--watch takes one name at most")
	}
	req := &daemonv1.WatchRequest{Kind: o.kind, Namespace: o.namespace, Trench: o.trench}
	if len(o.names) == 1 {
		req.Name = o.names[0]
	}
	return a.withDaemon(ctx, func(ctx context.Context, client daemonv1.DaemonClient) error {
		stream, err := client.Watch(ctx, req)
		if err != nil {
			return err
		}
		for {
			resp, err := stream.Recv()
			if done, err := watchEnd(ctx, err); done {
				return err
			}
			objects, err := decodeObjects(resp.GetObjects())
			if err != nil {
				return err
			}
			for _, object := range objects {
				if err := a.printResourceEvent(resp.GetKind(), object); err != nil {
					return err
				}
			}
		}
	})
}

// watchEnd decides whether a watch is over, and with what: being interrupted is
// how a watch ends well.
func watchEnd(ctx context.Context, err error) (bool, error) {
	switch {
	case err == nil:
		return false, nil
	case ctx.Err() != nil:
		return true, nil
	case errors.Is(err, io.EOF):
		return true, errors.New("the server ended the watch")
	}
	return true, err
}

func (a *app) printResourceEvent(kind daemonv1.WatchResponse_Kind, o v1alpha1.Object) error {
	event := strings.ToLower(kind.String())
	if kind == daemonv1.WatchResponse_SNAPSHOT {
		event = "present"
	}
	if !a.format.Human() {
		return a.format.WriteEvent(a.env.Stdout, resourceEvent{event, o})
	}
	m := o.GetMeta()
	line := fmt.Sprintf("%s %-8s %-10s %s/%s", a.env.Now().Format("15:04:05.000"), event, strings.ToLower(o.GetType().Kind), m.Namespace, m.Name)
	if c := o.GetStatus().Condition(v1alpha1.ConditionProgrammed); c != nil {
		line += fmt.Sprintf(" programmed=%s (%s)", c.Status, c.Reason)
	}
	_, err := fmt.Fprintln(a.env.Stdout, line)
	return err
}
