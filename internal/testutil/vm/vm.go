// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// qemu emulates the machine.
const qemu = "qemu-system-x86_64"

// requireEnv as in package testutil.
const requireEnv = "WEFT_TEST_REQUIRE"

// limit bounds a guest.
const limit = 5 * time.Minute

// Dir is where kernels are: each in a directory as its Debian package unpacks,
// with modules.dep.
func Dir() string {
	if dir := os.Getenv("WEFT_TEST_KERNELS"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "weft", "kernels")
}

// Run runs the tests of the calling package that match pattern on another kernel
// with the modules loaded, and fails with them. Without a kernel or qemu it skips
// the test, or fails it where WEFT_TEST_REQUIRE has "vm".
func Run(t *testing.T, pattern string, modules ...string) {
	t.Helper()
	kernel, err := find()
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv(requireEnv), ","), "vm") {
			t.Fatalf("vm is required by %s: %v", requireEnv, err)
		}
		t.Skipf("no vm here: %v", err)
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := kernel.build(t, initrd, modules, "-test.v", "-test.run="+pattern, "-test.timeout="+limit.String()); err != nil {
		t.Fatal(err)
	}
	status, err := kernel.run(t, initrd)
	if err != nil {
		t.Fatal(err)
	}
	if status != 0 {
		t.Fatalf("the tests on Linux %s failed", kernel.version)
	}
}

type kernel struct{ dir, version string }

func find() (kernel, error) {
	if _, err := exec.LookPath(qemu); err != nil {
		return kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(Dir(), "*", "boot", "vmlinuz-*"))
	if err != nil {
		return kernel{}, err
	}
	if len(images) == 0 {
		return kernel{}, fmt.Errorf("no kernel in %s; test/prepare vm fetches one", Dir())
	}
	image := images[len(images)-1]
	return kernel{
		dir:     filepath.Dir(filepath.Dir(image)),
		version: strings.TrimPrefix(filepath.Base(image), "vmlinuz-"),
	}, nil
}

func (k kernel) modules() string { return filepath.Join(k.dir, "lib", "modules", k.version) }

// build makes the initramfs. The guest has no C library, so the binary is built
// without cgo, and so without the race detector.
func (k kernel) build(t *testing.T, initrd string, modules []string, args ...string) error {
	binary := filepath.Join(t.TempDir(), "test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build tests for the guest: %w: %s", err, out)
	}
	files, err := k.resolve(modules)
	if err != nil {
		return err
	}
	out, err := os.Create(initrd)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	a := &archive{w: out, dirs: map[string]bool{}}
	a.dir("dev")
	a.copy("init", 0o755, binary)
	for _, file := range files {
		a.copy("lib/"+file, 0o644, filepath.Join(k.modules(), file))
	}
	a.file(modulesFile[1:], 0o644, []byte("/lib/"+strings.Join(files, "\n/lib/")+"\n"))
	a.file(argsFile[1:], 0o644, []byte(strings.Join(args, "\n")))
	return a.close()
}

// resolve returns the files of the modules, each after those that it needs.
func (k kernel) resolve(modules []string) (files []string, err error) {
	data, err := os.ReadFile(filepath.Join(k.modules(), "modules.dep"))
	if err != nil {
		return nil, err
	}
	lines := map[string][]string{} // by name
	for line := range strings.Lines(string(data)) {
		file, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		// What a module needs comes after what needs it.
		all := append([]string{file}, strings.Fields(needs)...)
		slices.Reverse(all)
		lines[name] = all
	}
	for _, module := range modules {
		if lines[module] == nil {
			return nil, fmt.Errorf("no module %s of Linux %s", module, k.version)
		}
		for _, file := range lines[module] {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}

// run boots the kernel, logs what the guest prints, and returns its exit status.
func (k kernel) run(t *testing.T, initrd string) (int, error) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", filepath.Join(k.dir, "boot", "vmlinuz-"+k.version), "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 rdinit=/init")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	status, readErr := follow(t, out)
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("run Linux %s: %w", k.version, err)
	}
	return status, readErr
}

func follow(t *testing.T, out io.Reader) (status int, err error) {
	err = fmt.Errorf("the guest ended before its tests")
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		text := strings.TrimRight(lines.Text(), "\r")
		if number, ok := strings.CutPrefix(text, exitMarker); ok {
			status, err = strconv.Atoi(number)
			continue
		}
		t.Log(text)
	}
	return status, err
}
