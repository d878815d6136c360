// SPDX-License-Identifier: Apache-2.0

package vlanmech

import (
	"context"
	"fmt"
	"strconv"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/nselabel"
)

const (
	// BaseInterface is the mechanism parameter with the base interface's name.
	BaseInterface = "base-interface"
	// ViaLabel chooses the base interface where there is no such parameter.
	ViaLabel = "via"

	maxID = 4094
)

// Devices are base interfaces by the value of the label via.
type Devices map[string]string

// choice is what the endpoint answered.
type choice struct {
	mechanism *networkservice.Mechanism
	base      string
	id        int
}

type choiceKey struct{}

func load(ctx context.Context) (choice, bool) {
	value, ok := metadata.Map(ctx, true).Load(choiceKey{})
	if !ok {
		return choice{}, false
	}
	return value.(choice), true
}

// Chosen tells whether the endpoint of the connection has answered with a VLAN.
func Chosen(ctx context.Context) bool {
	_, ok := load(ctx)
	return ok
}

type client struct{ devices Devices }

// NewClient returns the element for the endpoint's side.
func NewClient(devices Devices) networkservice.NetworkServiceClient { return client{devices} }

func (c client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	closeContext := postpone.ContextWithValues(ctx)
	before, established := load(ctx)
	request = request.Clone()
	request.MechanismPreferences = append(request.GetMechanismPreferences(),
		&networkservice.Mechanism{Cls: cls.REMOTE, Type: vlan.MECHANISM, Parameters: map[string]string{}})
	if established {
		request.GetConnection().Mechanism = before.mechanism.Clone()
	}
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if conn.GetMechanism().GetType() != vlan.MECHANISM {
		metadata.Map(ctx, true).Delete(choiceKey{})
		return conn, nil
	}
	now, err := c.read(ctx, conn)
	if err != nil {
		if !established {
			closeCtx, cancel := closeContext()
			defer cancel()
			_, _ = next.Client(closeCtx).Close(closeCtx, conn, opts...)
		}
		return nil, status.Errorf(codes.FailedPrecondition, "answer of endpoint %s: %v", conn.GetNetworkServiceEndpointName(), err)
	}
	metadata.Map(ctx, true).Store(choiceKey{}, now)
	return conn, nil
}

func (c client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if kept, ok := load(ctx); ok {
		conn = conn.Clone()
		conn.Mechanism = kept.mechanism.Clone()
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// read reads the answer's mechanism.
func (c client) read(ctx context.Context, conn *networkservice.Connection) (choice, error) {
	m := conn.GetMechanism()
	now := choice{mechanism: m.Clone(), base: m.GetParameters()[BaseInterface]}
	if text := m.GetParameters()[vlan.ID]; text != "" {
		id, err := strconv.ParseUint(text, 10, 16)
		if err != nil || id > maxID {
			return choice{}, fmt.Errorf("mechanism parameter %s: %q is not between 0 and %d", vlan.ID, text, maxID)
		}
		now.id = int(id)
	}
	if now.base != "" {
		return now, nil
	}
	via := conn.GetLabels()[ViaLabel]
	if via == "" {
		via = nselabel.Of(ctx, conn)[ViaLabel]
	}
	if now.base = c.devices[via]; now.base == "" {
		return choice{}, fmt.Errorf("mechanism parameter %s is missing, and this forwarder has no interface for the label %s=%q", BaseInterface, ViaLabel, via)
	}
	return now, nil
}
