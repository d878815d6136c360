// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/resource"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// maxProblems bounds the problems of one answer: they travel in the trailer of
// the call, which has a limit.
const maxProblems = 500

// refusal maps an error of the store to a status. Problems get the code given.
func refusal(err error, code codes.Code) error {
	var list resource.Problems
	switch {
	case errors.As(err, &list):
		return withProblems(code, list)
	case errors.Is(err, resource.ErrNotFound):
		return status.Error(codes.NotFound, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

func withProblems(code codes.Code, list resource.Problems) error {
	message := list[0].String()
	if len(list) > 1 {
		message = fmt.Sprintf("%d problems, the first: %s", len(list), message)
	}
	st := status.New(code, message)
	detailed, err := st.WithDetails(&daemonv1.Problems{Problems: problems(list[:min(len(list), maxProblems)])})
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}

func notFound(key resource.Key) error {
	return status.Errorf(codes.NotFound, "%s: not found", key)
}

// fieldError names a field of the request, with index i unless it is negative.
func fieldError(field string, i int, err error) error {
	if i >= 0 {
		field = fmt.Sprintf("%s[%d]", field, i)
	}
	return status.Errorf(codes.InvalidArgument, "%s.%s", field, err)
}

func parseKey(k *daemonv1.Key) (resource.Key, error) {
	if _, ok := v1alpha1.LookupKind(k.GetKind()); !ok {
		return resource.Key{}, fmt.Errorf("kind: %q is not known", k.GetKind())
	}
	if k.GetName() == "" {
		return resource.Key{}, errors.New("name: must not be empty")
	}
	key := resource.Key{Kind: k.GetKind(), Namespace: k.GetNamespace(), Name: k.GetName()}
	if key.Namespace == "" {
		key.Namespace = v1alpha1.DefaultNamespace
	}
	return key, nil
}

func fromKey(k resource.Key) *daemonv1.Key {
	return &daemonv1.Key{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name}
}

func toObject(o v1alpha1.Object) (*daemonv1.Object, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode %s: %v", resource.KeyOf(o), err)
	}
	return &daemonv1.Object{Key: fromKey(resource.KeyOf(o)), Json: b}, nil
}

func toObjects(list []v1alpha1.Object) ([]*daemonv1.Object, error) {
	out := make([]*daemonv1.Object, 0, len(list))
	for _, o := range list {
		object, err := toObject(o)
		if err != nil {
			return nil, err
		}
		out = append(out, object)
	}
	return out, nil
}

func problems(list resource.Problems) []*daemonv1.Problem {
	var out []*daemonv1.Problem
	for _, p := range list {
		problem := &daemonv1.Problem{File: p.File, Line: int32(p.Line), Field: p.Field, Reason: p.Reason}
		if p.Key != (resource.Key{}) {
			problem.Object = fromKey(p.Key)
		}
		out = append(out, problem)
	}
	return out
}

var actions = map[resource.Action]daemonv1.Change_Action{
	resource.Created:    daemonv1.Change_CREATED,
	resource.Configured: daemonv1.Change_CONFIGURED,
	resource.Unchanged:  daemonv1.Change_UNCHANGED,
	resource.Deleted:    daemonv1.Change_DELETED,
}

func changes(list []resource.Change) []*daemonv1.Change {
	var out []*daemonv1.Change
	for _, c := range list {
		out = append(out, &daemonv1.Change{Object: fromKey(c.Key), Action: actions[c.Action]})
	}
	return out
}

// selector is what List and Watch select by.
type selector struct{ kind, namespace, trench, name string }

func newSelector(req interface {
	GetKind() string
	GetNamespace() string
	GetTrench() string
	GetName() string
}) (selector, error) {
	s := selector{req.GetKind(), req.GetNamespace(), req.GetTrench(), req.GetName()}
	if _, ok := v1alpha1.LookupKind(s.kind); s.kind != "" && !ok {
		return s, status.Errorf(codes.InvalidArgument, "kind: %q is not known", s.kind)
	}
	return s, nil
}

func (s selector) of(snapshot *resource.Snapshot) []v1alpha1.Object {
	var out []v1alpha1.Object
	for _, o := range snapshot.List(s.kind) {
		m := o.GetMeta()
		trench := m.Trench()
		if o.GetType().Kind == v1alpha1.KindTrench {
			trench = m.Name
		}
		if (s.namespace == "" || s.namespace == m.Namespace) &&
			(s.name == "" || s.name == m.Name) && (s.trench == "" || s.trench == trench) {
			out = append(out, o)
		}
	}
	return out
}
