/* SPDX-License-Identifier: Apache-2.0
 * The program of the test images: tells what it sees, and does what its arguments say. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

static void tell(int number) {
	struct winsize size = {0};
	char text[64];
	ioctl(0, TIOCGWINSZ, &size);
	int length = snprintf(text, sizeof text, "signal %d window %dx%d\n", number, size.ws_row, size.ws_col);
	if (write(1, text, length) < 0 || number == SIGTERM || number == SIGINT)
		_exit(40 + number);
}

static void status_line(const char *name) {
	char line[512];
	FILE *file = fopen("/proc/self/status", "r");
	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, name, strlen(name)))
			fputs(line, stdout);
	if (file)
		fclose(file);
}

static int info(void) {
	extern char **environ;
	char cwd[4096];
	gid_t groups[64];
	int count = getgroups(64, groups);
	printf("uid=%d\ngid=%d\ncwd=%s\npid=%d\n", getuid(), getgid(), getcwd(cwd, sizeof cwd), getpid());
	printf("tty=%d%d%d\ngroups=", isatty(0), isatty(1), isatty(2));
	for (int i = 0; i < count; i++)
		printf("%d ", groups[i]);
	puts("");
	for (char **item = environ; *item; item++)
		printf("env %s\n", *item);
	status_line("Cap");
	return 0;
}

static int answer_once(int port) {
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
		return 1;
	puts("ready");
	fflush(stdout);
	int client = accept(listener, 0, 0);
	if (write(client, "hello\n", 6) != 6)
		return 1;
	close(client);
	return 0;
}

static int copy(int from, int to) {
	char block[65536];
	ssize_t length;
	while ((length = read(from, block, sizeof block)) > 0)
		if (write(to, block, length) != length)
			return 1;
	return length < 0;
}

static int one(char **words) {
	const char *verb = words[0];
	if (!strcmp(verb, "info"))
		return info();
	if (!strcmp(verb, "exit"))
		return atoi(words[1]);
	if (!strcmp(verb, "echo"))
		return puts(words[1]) < 0;
	if (!strcmp(verb, "cat"))
		return copy(0, 1);
	if (!strcmp(verb, "read")) {
		int file = open(words[1], O_RDONLY);
		return file < 0 ? errno : copy(file, 1);
	}
	if (!strcmp(verb, "write")) {
		int file = open(words[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
		return file < 0 ? errno : write(file, "written", 7) != 7;
	}
	if (!strcmp(verb, "listen"))
		return answer_once(atoi(words[1]));
	if (!strcmp(verb, "die")) {
		volatile int *nowhere = 0;
		return *nowhere;
	}
	if (!strcmp(verb, "wait") || !strcmp(verb, "deaf")) {
		int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
		for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
			signal(numbers[i], *verb == 'd' ? SIG_IGN : tell);
		puts("ready");
		fflush(stdout);
		for (;;)
			pause();
	}
	return 99;
}

int main(int count, char **words) {
	setvbuf(stdout, 0, _IOLBF, 1024);
	return count > 1 ? one(words + 1) : 98;
}
