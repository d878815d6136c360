// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/inspect"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

// observeOptions are the flags of observe.
type observeOptions struct {
	replica, src, dst, proto string
	port                     uint16
	reasons                  []string
	rate, sample             uint32
	count                    uint64
}

func (a *app) observeCommand() *cobra.Command {
	var o observeOptions
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Show decisions of load balancers as they are made",
		Long: `Show what load balancers decide about packets, one line each, until it is
interrupted. The filter, the sampling and the limit of events per second work in
the kernel, so that watching does not slow the traffic. At the end a line says how
many decisions were shown and how many there were.`,
		Example: `  weft observe --reason drop
  weft observe --src 198.51.100.0/24 --proto tcp --port 443 --count 20
  weft observe --replica lb-1 --sample 1000 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.sample == 0 {
				return cli.Usagef("--sample: must be at least 1")
			}
			if o.rate == 0 {
				return cli.Usagef("--rate: must be at least 1")
			}
			return a.observe(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.src, "src", "", "only packets from this prefix or address")
	f.StringVar(&o.dst, "dst", "", "only packets to this prefix or address")
	f.StringVar(&o.proto, "proto", "", "only this protocol: tcp, udp, sctp, icmp, icmpv6 or a number")
	f.Uint16Var(&o.port, "port", 0, "only packets from or to this port")
	f.StringArrayVar(&o.reasons, "reason", nil, `only packets with this reason, may be repeated; "drop" is all that drop`)
	f.Uint32Var(&o.rate, "rate", 1000, "events per second at most, of each load balancer")
	f.Uint32Var(&o.sample, "sample", 1, "look at one of so many packets")
	f.Uint64Var(&o.count, "count", 0, "end after so many events, 0 is never")
	a.replicaFlag(cmd, &o.replica, "only this load balancer")
	// As for --output: a missing completion does not hurt.
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(reasonNames(), cobra.ShellCompDirectiveNoFileComp))
	a.outputFlag(cmd)
	return cmd
}

// eventView is an event as it is printed.
type eventView struct {
	Time            time.Time `json:"time"`
	Replica         string    `json:"replica"`
	Reply           bool      `json:"reply,omitempty"` // from a target
	Reason          string    `json:"reason"`
	Drop            bool      `json:"drop,omitempty"`
	Source          string    `json:"source,omitempty"`
	Destination     string    `json:"destination,omitempty"`
	Protocol        string    `json:"protocol,omitempty"`
	SourcePort      uint32    `json:"source-port,omitempty"`
	DestinationPort uint32    `json:"destination-port,omitempty"`
	Length          uint32    `json:"length"`
	Flow            string    `json:"flow,omitempty"`
	Stream          string    `json:"stream,omitempty"`
	Target          string    `json:"target,omitempty"`
}

func (a *app) observe(ctx context.Context, o observeOptions) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return a.withBalancer(ctx, func(ctx context.Context, client balancerv1.BalancerClient) error {
		seen, err := a.countReasons(ctx, client, o)
		if err != nil {
			return err
		}
		shown, lost, err := a.follow(ctx, client, o)
		if err != nil {
			return err
		}
		// The last words of a command that was interrupted.
		now, err := a.countReasons(context.WithoutCancel(ctx), client, o)
		if err != nil {
			return err
		}
		total := max(now, seen) - seen
		_, err = fmt.Fprintf(a.env.Stderr, "shown %d, lost %d (read too slowly), suppressed %d (filter, sampling, rate) of about %d decisions\n",
			shown, lost, max(total, shown+lost)-shown-lost, max(total, shown+lost))
		return err
	})
}

// follow prints events until ctx ends or there were enough.
func (a *app) follow(ctx context.Context, client balancerv1.BalancerClient, o observeOptions) (shown, lost uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Observe(ctx, &balancerv1.ObserveRequest{
		Replica: o.replica, Source: o.src, Destination: o.dst, Protocol: o.proto, Port: uint32(o.port),
		Reasons: o.reasons, Rate: o.rate, Sample: o.sample,
	})
	if err != nil {
		return 0, 0, err
	}
	for o.count == 0 || shown < o.count {
		e, err := stream.Recv()
		if done, err := watchEnd(ctx, err); done {
			return shown, lost, err
		}
		lost = e.GetLost()
		if err := a.printEvent(e); err != nil {
			return shown, lost, err
		}
		shown++
	}
	return shown, lost, nil
}

// countReasons returns how many packets had one of the wanted reasons so far.
func (a *app) countReasons(ctx context.Context, client balancerv1.BalancerClient, o observeOptions) (n uint64, err error) {
	ctx, cancel := a.call(ctx)
	defer cancel()
	resp, err := client.Statistics(ctx, &balancerv1.StatisticsRequest{Replica: o.replica})
	for _, r := range resp.GetReplicas() {
		for _, c := range r.GetReasons() {
			if len(o.reasons) == 0 || slices.Contains(o.reasons, c.GetReason()) || c.GetDrop() && slices.Contains(o.reasons, inspect.DropReasons) {
				n += c.GetPackets()
			}
		}
	}
	return n, err
}

func (a *app) printEvent(e *balancerv1.ObserveResponse) error {
	v := eventView{
		Time: e.GetTime().AsTime(), Replica: e.GetReplica(), Reply: e.GetReply(), Reason: e.GetReason(), Drop: e.GetDrop(),
		Source: e.GetSource(), Destination: e.GetDestination(), Protocol: e.GetProtocol(),
		SourcePort: e.GetSourcePort(), DestinationPort: e.GetDestinationPort(), Length: e.GetLength(),
		Flow: e.GetFlow(), Stream: e.GetStream(), Target: e.GetTarget(),
	}
	if !a.format.Human() {
		return a.format.WriteEvent(a.env.Stdout, v)
	}
	style := cli.Plain
	if v.Drop {
		style = cli.Bad
	}
	// Padded before it is coloured: the colour has no width.
	line := fmt.Sprintf("%s %s %s", v.Time.In(a.env.Now().Location()).Format("15:04:05.000000"), v.Replica,
		style.Paint(fmt.Sprintf("%-18s", v.Reason), a.env.Color()))
	if v.Source != "" {
		line += fmt.Sprintf(" %s %s > %s", v.Protocol, endpoint(v.Source, v.SourcePort), endpoint(v.Destination, v.DestinationPort))
	}
	line += fmt.Sprintf(" len=%d", v.Length)
	for _, f := range []struct{ key, value string }{{"flow", v.Flow}, {"stream", v.Stream}, {"target", v.Target}} {
		if f.value != "" {
			line += fmt.Sprintf(" %s=%s", f.key, f.value)
		}
	}
	if v.Reply {
		line += " reply"
	}
	_, err := fmt.Fprintln(a.env.Stdout, strings.TrimRight(line, " "))
	return err
}
