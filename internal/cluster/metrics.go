// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/weft-project/weft/internal/netns"
)

// Metrics returns what the process tells of itself, by name and labels as in
// `name{label="value"}`. The cluster must have Options.Metrics.
func (p *Process) Metrics(ctx context.Context) (_ map[string]float64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("metrics of %s: %w", p.Name, err)
		}
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: p.dialInside}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	found := map[string]float64{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, err
		}
		found[line[:at]] = value
	}
	return found, nil
}

func (p *Process) dialInside(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = netns.Do(p.NetNS, func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
