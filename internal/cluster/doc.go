// SPDX-License-Identifier: Apache-2.0

// Package cluster runs several nodes of Weft on one machine: network namespaces
// as nodes on an underlay of their own, with the real components as processes
// in them, load balancers, routers outside and workloads. Everything of it can
// be stopped, killed, paused, started again, cut off and put back. The demo, the
// benchmarks, the fault tests and the soak are built on it.
//
//	      switch (bridge)
//	     /      |       \
//	  node-1  node-2  node-3     registry or nsmgr, forwarder, agent; or `weft up`
//	  /    \       \
//	w1      lb-1    lb-2         namespaces of workloads and load balancers
//	           \    /
//	           router            a site: the outside of a trench, with ECMP
//
// It touches only namespaces, mounts and directories that it makes itself, and
// Close removes them all.
package cluster
