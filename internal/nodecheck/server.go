// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"

	"google.golang.org/grpc"

	nodev1 "github.com/weft-project/weft/pkg/api/node/v1"
)

type server struct {
	nodev1.UnimplementedNodeServer
	parts []Part
}

// Register serves the check of these parts.
func Register(registrar grpc.ServiceRegistrar, parts ...Part) {
	nodev1.RegisterNodeServer(registrar, &server{parts: parts})
}

var severities = map[Severity]nodev1.Finding_Severity{
	Note:    nodev1.Finding_NOTE,
	Warning: nodev1.Finding_WARNING,
	Error:   nodev1.Finding_ERROR,
}

func (s *server) Check(ctx context.Context, request *nodev1.CheckRequest) (*nodev1.CheckResponse, error) {
	response := &nodev1.CheckResponse{}
	for _, f := range All(ctx, request.GetRepair(), s.parts...) {
		response.Findings = append(response.Findings, &nodev1.Finding{
			Kind: f.Kind, Severity: severities[f.Severity], Object: f.Object, Wanted: f.Wanted, Recorded: f.Recorded,
			Actual: f.Actual, Repaired: f.Repaired, Message: f.Message,
		})
	}
	return response, nil
}
