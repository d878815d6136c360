// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/pkg/networkservice/vlanmech"
)

// devices reads a device selector as the command does.
func devices(t *testing.T, text string) (vlanmech.Devices, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "selector.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := forwarder.ReadEnvironment(config.Environ([]string{"NSM_DEVICE_SELECTOR_FILE=" + path}))
	return e.Config().Devices, err
}

func TestDeviceSelector(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want vlanmech.Devices
	}{
		"empty": {"", vlanmech.Devices{}},
		"several": {`---
interfaces:
  - name: eth2
    matches:
      - labelSelector:
          - via: gw1
      - labelSelector:
          - via: gw2
          - via: service.domain.2
  - name: eth3
    matches:
      - labelSelector:
          - via: gw2
          - via: gw3
  - name: eth4
`, vlanmech.Devices{"gw1": "eth2", "gw2": "eth3", "service.domain.2": "eth2", "gw3": "eth3"}},
	} {
		got, err := devices(t, tc.text)
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", name, err, diff)
		}
	}
}

func TestBadDeviceSelector(t *testing.T) {
	_, err := devices(t, `interfaces:
  - matches: [{labelSelector: []}]
  - name: sixteen-letters-
    matches: [{labelSelector: [{via: a}, {via: ""}]}]
`)
	for _, want := range []string{
		"NSM_DEVICE_SELECTOR_FILE=", `interfaces[0].name: "" is not 1 to 15 bytes`, "interfaces[0].matches[0].labelSelector: is empty",
		`interfaces[1].name: "sixteen-letters-"`, "interfaces[1].matches[0].labelSelector[1].via: is empty",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v misses %q", err, want)
		}
	}
	if _, err := devices(t, "interfaces: [{name: eth1, bridge: br0}]"); err == nil || !strings.Contains(err.Error(), "bridge") {
		t.Errorf("an unknown field: %v", err)
	}
	if _, err := forwarder.ReadEnvironment(config.Environ([]string{"NSM_DEVICE_SELECTOR_FILE=/missing/file"})); err == nil || !strings.Contains(err.Error(), "/missing/file") {
		t.Errorf("a missing file: %v", err)
	}
}
