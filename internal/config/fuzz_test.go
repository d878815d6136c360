// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/config"
)

// Nothing that an environment can hold makes Decode panic, and every problem
// names a variable.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"unix:///x", "tcp://:1", "1m30s", "a:b,c:d", "a,b", "10.0.0.0/8", "true", "-1", "", "%zz", "99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, name := range []string{"NSM_CONNECT_TO", "NSM_DIAL_TIMEOUT", "NSM_LABELS", "NSM_SERVICE_NAMES", "NSM_CIDR_PREFIX", "NSM_TUNNEL_IP", "NSM_VXLAN_PORT"} {
			var s sample
			err := config.Decode(config.Environ([]string{name + "=" + value}), &s)
			if err != nil && !strings.HasPrefix(err.Error(), name+"=") {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	})
}
