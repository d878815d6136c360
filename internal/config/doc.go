// SPDX-License-Identifier: Apache-2.0

// Package config reads the NSM_* environment variables that deployments of NSM
// set, into structs whose tags document them.
//
// It takes the syntax of upstream's components (lists a,b; maps key:value,key:value;
// durations 1m30s; URLs unix:///path). What cannot be parsed is an error that
// names the variable, never a default. Variables that no field names are left
// alone: a deployment sets many that are for others.
package config
