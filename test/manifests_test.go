// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"strings"
)

// object is a manifest of trench-a.
func object(kind, name, spec string) string {
	return fmt.Sprintf(`---
apiVersion: weft.dev/v1alpha1
kind: %s
metadata:
  name: %s
  namespace: trench-a
  labels:
    trench: trench-a
spec:
%s`, kind, name, spec)
}

func vip(name, address string) string { return object("Vip", name, "  address: "+address+"\n") }

func stream(name string, maxTargets int) string {
	return object("Stream", name, fmt.Sprintf("  conduit: lb\n  max-targets: %d\n", maxTargets))
}

// flow leads the ports of VIPs to a stream; both are separated by commas.
func flow(name, stream, vips, ports string, priority int) string {
	list := func(items string) (text string) {
		for item := range strings.SplitSeq(items, ",") {
			text += fmt.Sprintf("  - %q\n", item)
		}
		return text
	}
	return object("Flow", name, fmt.Sprintf(`  stream: %s
  priority: %d
  vips:
%s  destination-ports:
%s  source-subnets:
  - 0.0.0.0/0
  - ::/0
  source-ports:
  - any
  protocols:
  - tcp
  - udp
`, stream, priority, list(vips), list(ports)))
}

// streamAndFlow is a stream with a flow of its own over both VIPs.
func streamAndFlow(name string, maxTargets int, ports string) string {
	return stream(name, maxTargets) + flow(name, name, "vip-v4,vip-v6", ports, 1)
}
