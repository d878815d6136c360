// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// Workload is an ordinary server process in a namespace of its own, on a node.
type Workload struct {
	*Process
	Name string
	Node *Node
	// Agent is the node's agent as the workload sees it.
	Agent agentv1.AgentClient

	conn *grpc.ClientConn
}

// NewServer returns the process of an ordinary TCP and UDP server in a
// namespace, without a cluster around it. It runs this process's own binary.
func NewServer(name, path, log string, ports ...uint16) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &Process{Name: name, NetNS: path, Log: log, binary: self, args: serverArgs(name, ports)}, nil
}

func serverArgs(name string, ports []uint16) []string {
	args := []string{workloadCommand, name}
	for _, port := range ports {
		args = append(args, strconv.Itoa(int(port)))
	}
	return args
}

// AddWorkload starts a TCP and UDP server in a namespace of its own.
func (n *Node) AddWorkload(ctx context.Context, name string, ports ...uint16) (_ *Workload, err error) {
	c := n.cluster
	path, err := c.Add(name)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(n.Dir, "relay-"+name+".sock")
	w := &Workload{Name: name, Node: n, Process: c.process(&Process{
		Name: name, NetNS: path, args: append(serverArgs(name, ports), "--relay", socket, "--relay-to", n.Socket(Agent)),
	})}
	if w.conn, err = dial(socket); err != nil {
		return nil, err
	}
	c.onClose(w.conn.Close)
	w.Agent = agentv1.NewAgentClient(w.conn)
	return w, w.Start(ctx)
}

// retries has a call repeated whose connection broke under it, as an agent that
// is killed does to its workloads; every call to an agent may be repeated.
const retries = `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":5,"initialBackoff":"0.1s",
"maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]}`

// dial connects to a component's socket, and quickly again when it is back.
func dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(retries),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1.5, MaxDelay: 100 * time.Millisecond},
		}))
}

// Attach gives the workload an interface on a network service and waits until
// it is ready. The attachment is called <workload>-<interface>.
func (w *Workload) Attach(ctx context.Context, service, iface string, streams ...string) (*agentv1.Attachment, error) {
	response, err := w.Agent.Attach(ctx, &agentv1.AttachRequest{Wait: true, Spec: &agentv1.AttachmentSpec{
		Name: w.Attachment(iface), NetworkService: service, Interface: iface, Streams: streams,
	}})
	return response.GetAttachment(), err
}

// Attachment is the name of the attachment with that interface.
func (w *Workload) Attachment(iface string) string { return w.Name + "-" + iface }

// Update joins and leaves streams and waits.
func (w *Workload) Update(ctx context.Context, iface string, join, leave []string) error {
	_, err := w.Agent.Update(ctx, &agentv1.UpdateRequest{
		Name: w.Attachment(iface), JoinStreams: join, LeaveStreams: leave, Wait: true,
	})
	return err
}

// Detach takes the interface away.
func (w *Workload) Detach(ctx context.Context, iface string) error {
	_, err := w.Agent.Detach(ctx, &agentv1.DetachRequest{Name: w.Attachment(iface)})
	return err
}

// Await reads the agent's Watch, also over its restarts, until an attachment is
// as wanted, and returns it; with the end of ctx, what was seen last.
func (w *Workload) Await(ctx context.Context, iface string, ok func(*agentv1.Attachment) bool) (last *agentv1.Attachment, err error) {
	for ctx.Err() == nil {
		var stream grpc.ServerStreamingClient[agentv1.WatchResponse]
		if stream, err = w.Agent.Watch(ctx, &agentv1.WatchRequest{Name: w.Attachment(iface)}); err != nil {
			continue
		}
		for {
			response, recvErr := stream.Recv()
			if recvErr != nil {
				err = recvErr
				break
			}
			for _, last = range response.GetAttachments() {
				if ok(last) {
					return last, nil
				}
			}
		}
	}
	return last, errors.Join(err, ctx.Err())
}

// AllLegs says that every leg of an attachment is up, and that there are n.
func AllLegs(n int) func(*agentv1.Attachment) bool {
	return func(a *agentv1.Attachment) bool {
		up := 0
		for _, leg := range a.GetStatus().GetLegs() {
			if leg.GetState() == agentv1.Leg_UP {
				up++
			}
		}
		return up == n && len(a.GetStatus().GetLegs()) == n
	}
}

// Die ends the workload and its namespace without a word to anybody.
func (w *Workload) Die() error {
	w.Node.cluster.forget(w.Process)
	return errors.Join(w.Node.cluster.Remove(w.Name), w.Kill())
}
