// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

func (a *app) traceCommand() *cobra.Command {
	return noun("trace", "Show what a load balancer decides about packets, and why",
		`Show what a load balancer decides about packets, and why. Nothing is sent, and
nothing is counted.`, a.tracePacketCommand())
}

// traceOptions are the flags of trace packet.
type traceOptions struct {
	crafted
	iface, replica string
	pcap           string
	reply, setMAC  bool
	all            bool
}

func (a *app) tracePacketCommand() *cobra.Command {
	var o traceOptions
	cmd := &cobra.Command{
		Use:   "packet",
		Short: "Run packets through the loaded program",
		Long: `Run a packet, or those of a capture, through the program of a load balancer as it
is loaded, on its live maps, and print every decision: the VIP, the flow and those
that come before it and do not match, each with the first field that differs, the
stream, the slot of its table, the target, its leg and the packet as it leaves; or
why it is dropped and what to do about that.

The explanation is computed from the rules in force, apart from the program. If
the two contradict each other, the command says so and fails: that is a bug.

--proto icmp is a ping. All other packets come from captures: pcap or pcapng, with
Ethernet frames or raw IP packets.`,
		Example: `  weft trace packet --in ext0 --src 198.51.100.7 --dst 20.0.0.1 --proto tcp --sport 40000 --dport 80
  weft trace packet --src 2001:db8::7 --dst 2000::1 --proto udp --dport 5000 --payload 0a0b0c0d -o json
  weft trace packet --reply --src 20.0.0.1 --sport 80 --dst 198.51.100.7 --dport 40000
  tcpdump -i ext0 -w - -c 100 | weft trace packet --pcap - --replica lb-1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.pcap != "" {
				for _, name := range fields {
					if cmd.Flags().Changed(name) {
						return cli.Usagef("--%s and --pcap exclude each other", name)
					}
				}
			} else if o.setMAC {
				return cli.Usagef("--set-mac is for --pcap")
			}
			if !cmd.Flags().Changed("flags") && o.reply {
				o.flags = "syn,ack"
			}
			return a.tracePackets(cmd.Context(), o)
		},
	}
	o.flagsOf(cmd)
	a.replicaFlag(cmd, &o.replica, "load balancer, by its name, if --in is that of several")
	a.outputFlag(cmd)
	return cmd
}

func (o *traceOptions) flagsOf(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.iface, "in", "", "external interface of the load balancer")
	f.StringVar(&o.src, "src", "", "source address")
	f.StringVar(&o.dst, "dst", "", "destination address")
	f.StringVar(&o.proto, "proto", "tcp", "tcp, udp, sctp or icmp")
	f.Uint16Var(&o.sport, "sport", 40000, "source port")
	f.Uint16Var(&o.dport, "dport", 0, "destination port")
	f.StringVar(&o.payload, "payload", "", "bytes after the transport header, in hexadecimal")
	f.StringVar(&o.flags, "flags", "syn", "TCP flags, separated by commas (with --reply: syn,ack)")
	f.Uint8Var(&o.ttl, "ttl", 64, "TTL or hop limit")
	f.IntVar(&o.vlan, "vlan", -1, "VLAN tag, 0 is none (default: that of the load balancer)")
	f.IntVar(&o.length, "length", 0, "length of the IP packet; zeros make the payload longer")
	f.StringVar(&o.pcap, "pcap", "", "trace the packets of this file, - is standard input")
	f.BoolVar(&o.setMAC, "set-mac", false, "with --pcap: give all frames the MAC of the external interface, as if captured there")
	f.BoolVar(&o.reply, "reply", false, "the packets come from a target")
	f.BoolVar(&o.all, "all", false, "name all flows that do not match, not only 20")
	// As for --output: a missing completion does not hurt.
	_ = cmd.RegisterFlagCompletionFunc("proto", cobra.FixedCompletions([]string{"tcp", "udp", "sctp", "icmp"}, cobra.ShellCompDirectiveNoFileComp))
}

// maxBatch bounds the bytes of frames in one request.
const maxBatch = 128 << 10

func (a *app) tracePackets(ctx context.Context, o traceOptions) error {
	return a.withBalancer(ctx, func(ctx context.Context, client balancerv1.BalancerClient) error {
		ctx, cancel := a.call(ctx)
		defer cancel()
		replica, err := chooseReplica(ctx, client, o.replica, o.iface)
		if err != nil {
			return err
		}
		if len(replica.GetMac()) != 6 {
			return fmt.Errorf("interface %s of load balancer %s is not there", replica.GetInterface(), replica.GetName())
		}
		list, err := a.packets(o, replica)
		if err != nil {
			return err
		}
		view := traceView{Replica: newReplicaView(replica)}
		for len(list) > 0 {
			req := &balancerv1.TraceRequest{Replica: replica.GetName(), Reply: o.reply}
			if o.all {
				req.MaxMismatches = math.MaxInt32
			}
			size := 0
			for _, c := range list[:min(len(list), 100)] {
				if size += len(c.frame); size > maxBatch && len(req.Frames) > 0 {
					break
				}
				req.Frames = append(req.Frames, c.frame)
			}
			resp, err := client.Trace(ctx, req)
			if err != nil {
				return err
			}
			for i, d := range resp.GetDecisions() {
				view.add(d, list[i])
			}
			list = list[len(req.Frames):]
		}
		return a.printTrace(view)
	})
}

// packets returns the packets to trace.
func (a *app) packets(o traceOptions, r *balancerv1.Replica) ([]captured, error) {
	if o.pcap != "" {
		list, err := a.readCapture(o.pcap, r, o.setMAC)
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("%s: there is no packet in it", o.pcap)
		}
		return list, err
	}
	if o.reply && o.vlan < 0 {
		o.vlan = 0 // legs are not tagged
	}
	frame, err := o.frame(r)
	if err != nil {
		return nil, err
	}
	return []captured{{frame: frame}}, nil
}
