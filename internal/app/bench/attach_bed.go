// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-project/weft/internal/cluster"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

// bed is a cluster with a load balancer and an agent's client for each node.
type bed struct {
	*cluster.Cluster
	agents []agentv1.AgentClient
	conns  []*grpc.ClientConn
}

// Conduit and stream of the load balancer on a node, which is counted from 0.
const benchTrench = "bench"

func benchConduit(node int) string { return fmt.Sprintf("lb-%d", node+1) }

func benchStream(node int) string { return fmt.Sprintf("web-%d", node+1) }

// newBed starts everything but the workloads, which are only namespaces.
func newBed(ctx context.Context, o attachOptions) (_ *bed, err error) {
	c, err := cluster.New(cluster.Options{
		Prefix: "weft-bench-" + strconv.Itoa(os.Getpid()) + "-", Nodes: o.Nodes, Together: o.Together,
		Binary: o.binary, Manifests: benchManifests(o.Nodes), LogLevel: "warn",
	})
	if err != nil {
		return nil, err
	}
	b := &bed{Cluster: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	site, err := cluster.NewSite(c.Namespaces, "bench", 1)
	if err != nil {
		return nil, err
	}
	for i, node := range c.Nodes {
		number := byte(i + 1)
		if _, err := node.AddReplica(benchConduit(i), cluster.ReplicaOptions{
			Trench: benchTrench, Conduit: benchConduit(i), Site: site, Number: number,
			// Room for all attachments, whichever node they choose.
			Prefixes: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 + number}), 16),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x80, 3: number}), 64),
			},
		}); err != nil {
			return nil, err
		}
	}
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	for _, node := range c.Nodes {
		conn, err := grpc.NewClient("unix:"+node.Socket("admin"), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
		if err != nil {
			return nil, err
		}
		b.conns, b.agents = append(b.conns, conn), append(b.agents, agentv1.NewAgentClient(conn))
		if !o.Together {
			continue
		}
		manifest := &daemonv1.Manifest{Name: "bench", Yaml: benchManifests(o.Nodes)}
		if _, err := daemonv1.NewDaemonClient(conn).Apply(ctx, &daemonv1.ApplyRequest{Manifests: []*daemonv1.Manifest{manifest}}); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Close ends it all.
func (b *bed) Close() error {
	var errs []error
	for _, conn := range b.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(append(errs, b.Cluster.Close())...)
}

// benchManifests give every node's load balancer a VIP and a stream.
func benchManifests(nodes int) []byte {
	var b strings.Builder
	object := func(kind, name, labels, spec string) {
		fmt.Fprintf(&b, "---\napiVersion: weft.dev/v1alpha1\nkind: %s\nmetadata: {name: %s, namespace: %s, labels: {%s}}\nspec: %s\n",
			kind, name, benchTrench, labels, spec)
	}
	trench := "trench: " + benchTrench
	object("Trench", benchTrench, "", "{ip-family: dualstack}")
	for i := range nodes {
		conduit, stream, suffix := benchConduit(i), benchStream(i), strconv.Itoa(i+1)
		object("Conduit", conduit, trench, "{type: stateless-lb}")
		object("Stream", stream, trench, fmt.Sprintf("{conduit: %s, max-targets: %d}", conduit, maxAttachments))
		object("Vip", "v4-"+suffix, trench, fmt.Sprintf("{address: 20.0.0.%s/32}", suffix))
		object("Vip", "v6-"+suffix, trench, fmt.Sprintf("{address: \"2000::%s/128\"}", suffix))
		object("Flow", "flow-"+suffix, trench, fmt.Sprintf("{stream: %s, priority: 1, vips: [v4-%s, v6-%s], source-subnets: [0.0.0.0/0, \"::/0\"], "+
			"source-ports: [any], destination-ports: [\"5000\"], protocols: [tcp, udp]}", stream, suffix, suffix))
	}
	return []byte(b.String())
}
