// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"os"
	"testing"

	"github.com/weft-project/weft/internal/testutil/vm"
)

func TestMain(m *testing.M) {
	vm.MaybeInit()
	os.Exit(m.Run())
}

// TestStockKernel has a stock kernel's verifier judge the programs, and runs them
// there.
func TestStockKernel(t *testing.T) {
	if vm.Inside() {
		t.Skip("this is one")
	}
	vm.Run(t, "^Test(FromPort|FromBase|Counters)$", "veth", "sch_ingress", "cls_bpf")
}
