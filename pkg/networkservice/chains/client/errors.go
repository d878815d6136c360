// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// nested finds statuses that were flattened to text.
var nested = regexp.MustCompile(`rpc error: code = (\w+) desc = `)

// candidatesSuffix is what the SDK's nsmgr puts behind the text of a
// forwarder's error.
const candidatesSuffix = ": all forwarders have failed"

var codeByName = func() map[string]codes.Code {
	byName := make(map[string]codes.Code)
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		byName[code.String()] = code
	}
	return byName
}()

// Origin returns the status of the one who decided: the end of the path. The
// SDK's nsmgr tries forwarders and answers with their errors as text, which
// loses the code; it is read back from there.
func Origin(err error) *status.Status {
	outer := status.Convert(unwrap(err))
	matches := nested.FindAllStringSubmatchIndex(outer.Message(), -1)
	if len(matches) == 0 {
		return outer
	}
	last := matches[len(matches)-1]
	code, ok := codeByName[outer.Message()[last[2]:last[3]]]
	if !ok {
		return outer
	}
	message := outer.Message()[last[1]:]
	for strings.HasSuffix(message, candidatesSuffix) { // one for each nsmgr
		message = strings.TrimSuffix(message, candidatesSuffix)
	}
	return status.New(code, message)
}

// unwrap returns the status in err's tree, without the texts around it.
func unwrap(err error) error {
	var carrier interface{ GRPCStatus() *status.Status }
	if errors.As(err, &carrier) {
		return carrier.GRPCStatus().Err()
	}
	return err
}
