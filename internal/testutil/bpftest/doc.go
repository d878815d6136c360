// SPDX-License-Identifier: Apache-2.0

// Package bpftest times BPF programs with BPF_PROG_TEST_RUN and makes random
// rules and packets for them.
package bpftest
