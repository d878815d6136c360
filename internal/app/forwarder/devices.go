// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/pkg/networkservice/vlanmech"
)

// deviceFile is read from the path of a device selector, as upstream's VPP
// forwarder reads it.
type deviceFile struct{ vlanmech.Devices }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *deviceFile) UnmarshalText(path []byte) error {
	data, err := os.ReadFile(string(path))
	if err != nil {
		return err
	}
	f.Devices, err = parseDevices(data)
	return err
}

// selector is the file: which labels via an interface is for.
type selector struct {
	Interfaces []struct {
		Name    string `yaml:"name"`
		Matches []struct {
			LabelSelector []struct {
				Via string `yaml:"via"`
			} `yaml:"labelSelector"`
		} `yaml:"matches"`
	} `yaml:"interfaces"`
}

// parseDevices returns the interface of each label; of several, the last, as
// upstream's.
func parseDevices(data []byte) (vlanmech.Devices, error) {
	var file selector
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	devices := vlanmech.Devices{}
	var errs []error
	for i, d := range file.Interfaces {
		if d.Name == "" || len(d.Name) >= unix.IFNAMSIZ {
			errs = append(errs, fmt.Errorf("interfaces[%d].name: %q is not 1 to %d bytes", i, d.Name, unix.IFNAMSIZ-1))
		}
		for j, match := range d.Matches {
			if len(match.LabelSelector) == 0 {
				errs = append(errs, fmt.Errorf("interfaces[%d].matches[%d].labelSelector: is empty", i, j))
			}
			for k, label := range match.LabelSelector {
				if label.Via == "" {
					errs = append(errs, fmt.Errorf("interfaces[%d].matches[%d].labelSelector[%d].via: is empty", i, j, k))
				}
				devices[label.Via] = d.Name
			}
		}
	}
	return devices, errors.Join(errs...)
}
