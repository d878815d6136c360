// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Lookup finds a variable; os.LookupEnv is one.
type Lookup func(name string) (value string, ok bool)

// Environ returns the Lookup of a list of name=value, as os.Environ returns it.
func Environ(environ []string) Lookup {
	values := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[name] = value
		}
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// Decode fills the struct at target. Its fields have the tags
//
//	env:"NSM_NAME" default:"forwarder" desc:"what it is for"
//
// A variable that is not set, or empty, has the default; an empty default leaves
// the field as it is. All problems are joined.
func Decode(lookup Lookup, target any) error {
	var errs []error
	each(reflect.ValueOf(target).Elem(), func(field reflect.Value, tag reflect.StructTag) {
		name := tag.Get("env")
		text, _ := lookup(name)
		if text == "" {
			text = tag.Get("default")
		}
		if text == "" {
			return
		}
		if err := parse(field, text); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", name, text, err))
		}
	})
	return errors.Join(errs...)
}

// Usage describes the variables of the struct at target, one a line.
func Usage(target any) string {
	var b strings.Builder
	each(reflect.ValueOf(target).Elem(), func(_ reflect.Value, tag reflect.StructTag) {
		fmt.Fprintf(&b, "%s\t%s", tag.Get("env"), tag.Get("desc"))
		if text := tag.Get("default"); text != "" {
			fmt.Fprintf(&b, " (default %s)", text)
		}
		b.WriteByte('\n')
	})
	return b.String()
}

// each calls fn for every field with an env tag, also in embedded structs.
func each(value reflect.Value, fn func(reflect.Value, reflect.StructTag)) {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		switch {
		case field.Anonymous:
			each(value.Field(i), fn)
		case field.Tag.Get("env") != "":
			fn(value.Field(i), field.Tag)
		}
	}
}

func parse(field reflect.Value, text string) error {
	if special, ok := specials[field.Type()]; ok {
		value, err := special(text)
		if err == nil {
			field.Set(reflect.ValueOf(value))
		}
		return err
	}
	if unmarshaler, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return unmarshaler.UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.Slice:
		return parseList(field, text)
	case reflect.Map:
		return parseMap(field, text)
	default:
		return parseScalar(field, text)
	}
}

// specials are the types that have a syntax of their own.
var specials = map[reflect.Type]func(string) (any, error){
	reflect.TypeFor[time.Duration](): func(text string) (any, error) {
		value, err := time.ParseDuration(text)
		if err == nil && value < 0 {
			err = errors.New("is negative")
		}
		if err != nil {
			return nil, fmt.Errorf("want a duration like 1m30s: %w", err)
		}
		return value, nil
	},
	reflect.TypeFor[*url.URL](): func(text string) (any, error) { return parseURL(text) },
}

// parseURL accepts unix and tcp URLs, what NSM's components talk over.
func parseURL(text string) (*url.URL, error) {
	const want = "want unix:///path or tcp://host:port"
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New(want)
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && u.Path+u.Opaque != "":
		return &url.URL{Scheme: "unix", Path: u.Path + u.Opaque}, nil
	case u.Scheme == "tcp" && u.Host != "" && (u.Path == "" || u.Path == "/"):
		return &url.URL{Scheme: "tcp", Host: u.Host}, nil
	}
	return nil, errors.New(want)
}

func parseScalar(field reflect.Value, text string) error {
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Bool:
		value, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("want true or false")
		}
		field.SetBool(value)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		value, err := strconv.ParseInt(text, 10, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("want a number of %d bits", field.Type().Bits())
		}
		field.SetInt(value)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		value, err := strconv.ParseUint(text, 10, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("want a number of %d bits, not negative", field.Type().Bits())
		}
		field.SetUint(value)
	default:
		return fmt.Errorf("no syntax for %s", field.Type())
	}
	return nil
}

func parseList(field reflect.Value, text string) error {
	parts := strings.Split(text, ",")
	list := reflect.MakeSlice(field.Type(), len(parts), len(parts))
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if part == "" {
			return fmt.Errorf("entry %d of the list is empty", i+1)
		}
		if err := parse(list.Index(i), part); err != nil {
			return fmt.Errorf("entry %q: %w", part, err)
		}
	}
	field.Set(list)
	return nil
}

func parseMap(field reflect.Value, text string) error {
	result := reflect.MakeMap(field.Type())
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		name, value, ok := strings.Cut(part, ":")
		if !ok || name == "" {
			return fmt.Errorf("entry %q: want key:value", part)
		}
		key, element := reflect.New(field.Type().Key()).Elem(), reflect.New(field.Type().Elem()).Elem()
		if err := errors.Join(parse(key, name), parse(element, value)); err != nil {
			return fmt.Errorf("entry %q: %w", part, err)
		}
		if result.MapIndex(key).IsValid() {
			return fmt.Errorf("key %q is there twice", name)
		}
		result.SetMapIndex(key, element)
	}
	field.Set(result)
	return nil
}
