// The baseline: a plain level-triggered epoll echo server, one thread, no state per connection.
// Usage: epoll-echo PORT CPU. It listens on 127.0.0.1, is pinned to CPU and runs until SIGTERM.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, BUFFER_BYTES = 4096, BACKLOG = 4096 };

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (listen(fd, BACKLOG)) fail("listen");
    return fd;
}

static void add(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

// Sends all of it back; waits where the peer does not read, which this benchmark's peer does.
static int echo(int fd, char *buffer) {
    ssize_t got = recv(fd, buffer, BUFFER_BYTES, MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN ? 0 : -1;
    if (got == 0) return -1;
    for (ssize_t sent = 0; sent < got;) {
        ssize_t n = send(fd, buffer + sent, (size_t)(got - sent), MSG_NOSIGNAL);
        if (n < 0) return -1;
        sent += n;
    }
    return 0;
}

int main(int argc, char **argv) {
    static char buffer[BUFFER_BYTES];
    struct epoll_event events[EVENTS];
    if (argc != 3) {
        fprintf(stderr, "usage: epoll-echo PORT CPU\n");
        return 2;
    }
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[2]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus)) fail("sched_setaffinity");
    int listener = listen_on(atoi(argv[1]));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1");
    add(epoll, listener);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int accepted;
                while ((accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                    add(epoll, accepted);
                }
            } else if (echo(fd, buffer)) {
                close(fd);
            }
        }
    }
}
