// SPDX-License-Identifier: Apache-2.0

package kernelmech

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
)

// validate returns every problem of a mechanism from which an interface is to be
// made.
func validate(m *networkservice.Mechanism) error {
	mechanism := kernel.ToMechanism(m)
	if mechanism == nil {
		return fmt.Errorf("mechanism type %q: want %s", m.GetType(), kernel.MECHANISM)
	}
	return errors.Join(
		checkInterface(mechanism.GetParameters()[kernel.InterfaceNameKey]),
		checkNetNS(mechanism.GetParameters()[kernel.NetNSURL]),
	)
}

// checkInterface applies the kernel's rules for names of interfaces
// (dev_valid_name), and refuses '%', which the kernel would replace by a number.
func checkInterface(name string) error {
	parameter := "mechanism parameter " + kernel.InterfaceNameKey
	switch {
	case name == "":
		return fmt.Errorf("%s: is missing or empty", parameter)
	case len(name) > kernel.LinuxIfMaxLength:
		return fmt.Errorf("%s %q: has %d bytes, an interface name has at most %d", parameter, name, len(name), kernel.LinuxIfMaxLength)
	case name == "." || name == "..":
		return fmt.Errorf("%s %q: is not a name", parameter, name)
	}
	for _, r := range name {
		if r == '/' || r == ':' || r == '%' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return fmt.Errorf("%s %q: holds the character %q", parameter, name, r)
		}
	}
	return nil
}

func checkNetNS(text string) error {
	parameter := "mechanism parameter " + kernel.NetNSURL
	switch {
	case text == "":
		return fmt.Errorf("%s: is missing or empty", parameter)
	case !strings.HasPrefix(text, "file:///") && !strings.HasPrefix(text, "inode://"):
		return fmt.Errorf("%s %q: want file:///path or inode://device/inode", parameter, text)
	}
	return nil
}
