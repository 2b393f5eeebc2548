/* What one text to all costs at least: a plain loop of send() over so many loopback connections, by so many threads,
 * each pinned and with its even share, all from one moment on. A second process holds the other ends; with `read` as
 * many threads of it take what comes, and without it nothing is taken, so that a send is all there is.
 *
 *   send-floor SOCKETS BYTES THREADS ROUNDS [read]
 *
 * Prints a line for each round: the seconds until the slowest thread was done. Each end has SOCKETS descriptors, so
 * `ulimit -n` bounds it: a time for more is reckoned by the send.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int sockets, bytes, threads, rounds, *fds;
static pthread_barrier_t begin, end;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pin(long thread) {
    cpu_set_t allowed, one;
    sched_getaffinity(0, sizeof allowed, &allowed);
    long nth = thread % CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && nth-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
    }
}

static void *send_all(void *arg) {
    long thread = (long)arg;
    char *text = calloc(1, (size_t)bytes);
    pin(thread);
    for (int round = 0; round < rounds; round++) {
        pthread_barrier_wait(&begin);
        for (int i = (int)thread; i < sockets; i += threads)
            if (send(fds[i], text, (size_t)bytes, MSG_DONTWAIT | MSG_NOSIGNAL) != bytes)
                die("send");
        pthread_barrier_wait(&end);
    }
    free(text);
    return NULL;
}

static void *take_all(void *arg) {
    long thread = (long)arg;
    char buffer[4096];
    struct epoll_event events[512];
    int set = epoll_create1(0);
    pin(thread);
    for (int i = (int)thread; i < sockets; i += threads) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
        if (epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event))
            die("epoll_ctl");
    }
    for (;;) {
        int ready = epoll_wait(set, events, 512, -1);
        for (int i = 0; i < ready; i++)
            if (recv(events[i].data.fd, buffer, sizeof buffer, MSG_DONTWAIT) == 0)
                return NULL;
    }
}

static void run_threads(void *(*body)(void *), pthread_t *ids) {
    for (long thread = 0; thread < threads; thread++)
        if (pthread_create(&ids[thread], NULL, body, (void *)thread))
            die("pthread_create");
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: send-floor SOCKETS BYTES THREADS ROUNDS [read]\n");
        return 2;
    }
    sockets = atoi(argv[1]), bytes = atoi(argv[2]), threads = atoi(argv[3]), rounds = atoi(argv[4]);
    int reads = argc > 5;
    if (sockets < 1 || bytes < 1 || threads < 1 || rounds < 1)
        return 2;
    fds = calloc((size_t)sockets, sizeof *fds);
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        die("listen");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        close(listener);
        for (int i = 0; i < sockets; i++) {
            fds[i] = socket(AF_INET, SOCK_STREAM, 0);
            if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&address, size))
                die("connect");
        }
        if (reads) {
            run_threads(take_all, ids);
            for (int thread = 0; thread < threads; thread++)
                pthread_join(ids[thread], NULL);
        } else {
            pause();
        }
        return 0;
    }
    for (int i = 0; i < sockets; i++)
        if ((fds[i] = accept(listener, NULL, NULL)) < 0)
            die("accept");
    pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)threads + 1);
    run_threads(send_all, ids);
    for (int round = 0; round < rounds; round++) {
        usleep(200000);
        double from = now();
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&end);
        printf("%.6f\n", now() - from);
    }
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
    return 0;
}
