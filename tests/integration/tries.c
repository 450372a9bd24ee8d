/* SPDX-License-Identifier: Apache-2.0 */
/* Makes system calls that a step must not get far with and prints each one's errno; or asks the
 * ssh agent at the path given for something forbidden and then for its keys. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void tell(const char *name, long result) {
	int number = errno;
	if (result < 0)
		printf("%s %s\n", name, strerrorname_np(number));
	else
		printf("%s ok\n", name);
	fflush(stdout);
	errno = 0;
}

static int ask_agent(const char *path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	unsigned char answer[64];
	ssize_t count;
	int end = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (connect(end, (struct sockaddr *)&address, sizeof address) != 0 ||
	    write(end, "\0\0\0\1\23\0\0\0\1\13", 10) != 10 || shutdown(end, SHUT_WR) != 0) {
		perror(path);
		return 1;
	}
	while ((count = read(end, answer, sizeof answer)) > 0)
		for (ssize_t i = 0; i < count; i++)
			printf("%02x", answer[i]);
	puts("");
	return 0;
}

int main(int argc, char **argv) {
	if (argc == 2)
		return ask_agent(argv[1]);
	char space[256] = {0};
	tell("mount", mount("none", "/tmp", "tmpfs", 0, ""));
	tell("umount", umount2("/proc", MNT_DETACH));
	tell("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
	tell("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
	tell("add_key", syscall(SYS_add_key, "user", "n", "x", 1, KEY_SPEC_PROCESS_KEYRING));
	tell("bpf", syscall(SYS_bpf, 0, space, sizeof space));
	tell("perf_event_open", syscall(SYS_perf_event_open, space, 0, -1, -1, 0));
	tell("unshare_user", unshare(CLONE_NEWUSER));
	tell("unshare_net", unshare(CLONE_NEWNET));
	tell("clone_user", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	tell("clone3", syscall(SYS_clone3, space, 88));
	tell("setns", setns(0, 0));
	tell("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, space, 0));
	tell("init_module", syscall(SYS_init_module, space, 1, ""));
	tell("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
	tell("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
	tell("swapon", syscall(SYS_swapon, "/x", 0));
	tell("settimeofday", syscall(SYS_settimeofday, space, 0));
	tell("userfaultfd", syscall(SYS_userfaultfd, 0));
	tell("io_uring_setup", syscall(SYS_io_uring_setup, 1, space));
	tell("acct", syscall(SYS_acct, 0));
	tell("af_alg", socket(38, SOCK_SEQPACKET, 0));
	tell("af_vsock", socket(40, SOCK_STREAM, 0));
	tell("syslog", syscall(SYS_syslog, 3, space, sizeof space));
	tell("af_unix", socket(AF_UNIX, SOCK_STREAM, 0));
	tell("chroot", chroot("/"));
	tell("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
	tell("sethostname", sethostname("x", 1));
	return 0;
}
