// SPDX-License-Identifier: Apache-2.0

// Act does in a RUN step what busybox has no word for, or tells what a step can see.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	if len(os.Args) < 2 {
		fail("act: what?")
	}
	words := os.Args[2:]
	act, known := acts[os.Args[1]]
	if !known {
		fail("act: unknown: " + os.Args[1])
	}
	if err := act(words); err != nil {
		fail("act " + strings.Join(os.Args[1:], " ") + ": " + err.Error())
	}
}

var acts = map[string]func([]string) error{
	"xattr":    func(w []string) error { return syscall.Setxattr(w[0], w[1], []byte(w[2]), 0) },
	"unxattr":  func(w []string) error { return syscall.Removexattr(w[0], w[1]) },
	"getxattr": getxattr,
	"cap":      func(w []string) error { return syscall.Setxattr(w[0], "security.capability", capability, 0) },
	"exchange": exchange,
	"sparse":   sparse,
	"mtime":    mtime,
	"socket":   socket,
	"agent":    agent,
	"write":    write,
	"limit":    limit,
	"free":     free,
	"kill":     kill,
	"exit":     func(w []string) error { os.Exit(number(w[0])); return nil },
	"open":     func(w []string) error { _, err := os.Open(w[0]); return err },
}

// The attribute of a program that may bind low ports.
var capability = []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func fail(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}

func number(word string) int {
	value, err := strconv.Atoi(word)
	if err != nil {
		fail(err.Error())
	}
	return value
}

func getxattr(w []string) error {
	value := make([]byte, 1024)
	size, err := syscall.Getxattr(w[0], w[1], value)
	if err == nil {
		fmt.Printf("%q\n", value[:size])
	}
	return err
}

// exchange swaps two names in one call.
func exchange(w []string) error {
	one, _ := syscall.BytePtrFromString(w[0])
	two, _ := syscall.BytePtrFromString(w[1])
	here := -100
	_, _, errno := syscall.Syscall6(316, uintptr(here), uintptr(unsafe.Pointer(one)),
		uintptr(here), uintptr(unsafe.Pointer(two)), 2, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// sparse writes a word at the start, one in the middle, and ends the file with a hole.
func sparse(w []string) error {
	file, err := os.Create(w[0])
	if err != nil {
		return err
	}
	size := int64(number(w[1]))
	file.WriteAt([]byte("start"), 0)
	file.WriteAt([]byte("middle"), size/2)
	file.Truncate(size)
	return file.Close()
}

// mtime sets a modification time in seconds and nanoseconds, of a link itself too.
func mtime(w []string) error {
	path, _ := syscall.BytePtrFromString(w[0])
	moment := syscall.Timespec{Sec: int64(number(w[1])), Nsec: int64(number(w[2]))}
	times := [2]syscall.Timespec{moment, moment}
	here := -100
	_, _, errno := syscall.Syscall6(280, uintptr(here), uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&times)), 0x100, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// socket leaves one behind.
func socket(w []string) error {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: w[0], Net: "unix"})
	if err == nil {
		listener.SetUnlinkOnClose(false)
		listener.Close()
	}
	return err
}

// agent asks the agent of SSH_AUTH_SOCK for its keys, and prints how many it has.
func agent([]string) error {
	connection, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		return err
	}
	connection.Write([]byte{0, 0, 0, 1, 11})
	head := make([]byte, 9)
	if _, err := io.ReadFull(connection, head); err != nil {
		return err
	}
	fmt.Printf("%d keys\n", binary.BigEndian.Uint32(head[5:]))
	return nil
}

// write adds a text to the end of a file, without a shell.
func write(w []string) error {
	file, err := os.OpenFile(w[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	file.WriteString(strings.Join(w[1:], " ") + "\n")
	return file.Close()
}

// limit prints the soft and hard limit of a number as getrlimit has it.
func limit(w []string) error {
	var found syscall.Rlimit
	err := syscall.Getrlimit(number(w[0]), &found)
	fmt.Println(found.Cur, found.Max)
	return err
}

// free prints how many MiB the file system of a path has in all.
func free(w []string) error {
	var found syscall.Statfs_t
	err := syscall.Statfs(w[0], &found)
	fmt.Println(uint64(found.Bsize) * found.Blocks >> 20)
	return err
}

// kill ends this process by a signal.
func kill(w []string) error {
	syscall.Kill(os.Getpid(), syscall.Signal(number(w[0])))
	time.Sleep(time.Minute)
	return nil
}
