/* The load of the benchmark: clients that keep a number of requests in flight and workers that echo, in one process.
 *
 *   load FRONTEND_PORT BACKEND_PORT CLIENTS IN_FLIGHT WORKERS BODY_BYTES IDLE SLOW_MS WARM_UP_S SECONDS
 *
 * Speaks ZMTP 3.0 with bytes prepared beforehand, so that it costs little beside what it measures: a request is always
 * the same message, its reply has the same length, and a worker sends back what it gets. IDLE more clients connect and
 * stay silent. The first worker takes SLOW_MS for each request if that is not 0, one after the other. With 0 for both ports
 * there is no broker: each client is connected to a worker of its own. Prints {"requests": …, "seconds": …, "p50_us": …,
 * "p99_us": …}. Exit status 1 when a peer goes away.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENT, WORKER, IDLE };

typedef struct {
    int fd, role, armed;
    size_t skip;           /* bytes of the handshake still to pass over */
    int greeted;           /* 0: greeting, 1: READY header, 2: READY body, 3: traffic */
    size_t got;            /* client: bytes of the current reply */
    size_t sent;           /* client: bytes of the current request that the socket took */
    int owed;              /* client: requests to send, the current one included */
    double *started;       /* client: ring of send times */
    unsigned head, tail;
    double due;            /* slow worker: when it answers the first request of those it has; 0: it has none */
    char *out;             /* worker: bytes to echo */
    size_t out_from, out_size, out_room;
} Peer;

static char *message;
static size_t message_size;
static int in_flight, epoll_fd, counting;
static uint64_t requests;
static float *latencies;
static size_t latency_count, latency_room = 1 << 22;
static char buffer[1 << 18];
static double slowness;    /* seconds that the slow worker takes */
static Peer *slow;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void arm(Peer *p, int out) {
    if (p->armed == out) return;
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = p};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, p->fd, &e)) die("epoll_ctl");
    p->armed = out;
}

static void client_send(Peer *p) {
    static char joined[1 << 16];
    while (p->owed) {
        const char *from = message + p->sent;
        size_t size = message_size - p->sent;
        int whole = 0;
        if (!p->sent && message_size * 2 <= sizeof joined && p->owed > 1) { /* many small ones in one call */
            size = 0;
            while (whole < p->owed && size + message_size <= sizeof joined) {
                memcpy(joined + size, message, message_size);
                size += message_size;
                whole++;
            }
            from = joined;
        }
        ssize_t k = send(p->fd, from, size, 0);
        if (k < 0) {
            if (errno != EAGAIN) die("client send");
            arm(p, 1);
            return;
        }
        double t = now();
        for (size_t done = p->sent + k; ; done -= message_size) {
            if (done < message_size) { p->sent = done; break; }
            p->started[p->head++ % in_flight] = t;
            p->owed--;
        }
        if ((size_t)k < size) { arm(p, 1); return; }
    }
    arm(p, 0);
}

static void client_got(Peer *p, size_t size) {
    p->got += size;
    double t = now();
    while (p->got >= message_size) {
        p->got -= message_size;
        p->owed++;
        double began = p->started[p->tail++ % in_flight];
        if (counting) {
            requests++;
            if (latency_count < latency_room) latencies[latency_count++] = (t - began) * 1e6;
        }
    }
    client_send(p);
}

static void worker_send(Peer *p) {
    while (p->out_size) {
        ssize_t k = send(p->fd, p->out + p->out_from, p->out_size, 0);
        if (k < 0) {
            if (errno != EAGAIN) die("worker send");
            arm(p, 1);
            return;
        }
        p->out_from += k;
        p->out_size -= k;
    }
    p->out_from = 0;
    arm(p, 0);
}

static void keep(Peer *p, const char *data, size_t size) {
    if (p->out_from && p->out_from + p->out_size + size > p->out_room) {
        memmove(p->out, p->out + p->out_from, p->out_size);
        p->out_from = 0;
    }
    if (p->out_from + p->out_size + size > p->out_room) {
        p->out_room = 2 * (p->out_from + p->out_size + size);
        if (!(p->out = realloc(p->out, p->out_room))) die("memory");
    }
    memcpy(p->out + p->out_from + p->out_size, data, size);
    p->out_size += size;
}

static void worker_got(Peer *p, const char *data, size_t size) {
    if (p == slow) {
        keep(p, data, size);
        if (!p->due) p->due = now() + slowness;
        return;
    }
    if (!p->out_size) {
        ssize_t k = send(p->fd, data, size, 0);
        if (k < 0 && errno != EAGAIN) die("worker send");
        if (k > 0) { data += k; size -= k; }
        if (!size) return;
    }
    keep(p, data, size);
    worker_send(p);
}

static void slow_answer(Peer *p) { /* the first of its requests, which are short and have come whole */
    const unsigned char *at = (unsigned char *)p->out + p->out_from, *start = at;
    int more;
    do {
        more = *at & 1;
        at += 2 + at[1];
    } while (more);
    size_t size = at - start;
    if (send(p->fd, start, size, 0) != (ssize_t)size) die("slow worker send");
    p->out_from += size;
    p->out_size -= size;
    if (!p->out_size) p->out_from = 0;
    p->due = p->out_size ? now() + slowness : 0;
}

static void readable(Peer *p) {
    ssize_t k = recv(p->fd, buffer, sizeof buffer, 0);
    if (k < 0 && errno == EAGAIN) return;
    if (k <= 0) die("a peer closed its connection");
    char *data = buffer;
    while (k && p->greeted < 3) { /* 64 bytes of greeting, then the frame of READY */
        size_t step = p->skip < (size_t)k ? p->skip : (size_t)k;
        unsigned char last = data[step - 1];
        p->skip -= step; data += step; k -= step;
        if (p->skip) return;
        p->greeted++;
        p->skip = p->greeted == 1 ? 2 : last;
        if (p->greeted == 3 && p->role == CLIENT) { p->owed = in_flight; client_send(p); }
    }
    if (!k) return;
    if (p->role == CLIENT) client_got(p, k);
    else if (p->role == WORKER) worker_got(p, data, k);
}

static int listener; /* of our own, where clients and workers meet without a broker */

static int meeting_point(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, size) || listen(listener, 16)) die("listen");
    if (getsockname(listener, (struct sockaddr *)&at, &size)) die("getsockname");
    return ntohs(at.sin_port);
}

static int connected(int port) { /* 0: accepted, from somebody who has connected */
    if (!port) return accept(listener, 0, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    return fd;
}

static void open_peer(Peer *p, int role, int port) {
    static const char ready[] = "\4\x19\5READY\xbSocket-Type\0\0\0\3";
    char hello[64 + 64];
    memset(hello, 0, sizeof hello);
    hello[0] = (char)0xff; hello[9] = 0x7f; hello[10] = 3;
    memcpy(hello + 12, "NULL", 4);
    memcpy(hello + 64, ready, sizeof ready - 1);
    memcpy(hello + 64 + sizeof ready - 1, role == WORKER ? "REP" : "REQ", 3);
    size_t size = 64 + sizeof ready - 1 + 3;
    hello[65] = size - 66;
    memset(p, 0, sizeof *p);
    p->role = role; p->skip = 64;
    p->fd = connected(port);
    if (p->fd < 0) die("socket");
    int one = 1;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (send(p->fd, hello, size, 0) != (ssize_t)size) die("greeting");
    fcntl(p->fd, F_SETFL, O_NONBLOCK);
    if (role == CLIENT) p->started = calloc(in_flight, sizeof(double));
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &e)) die("epoll_ctl");
}

static void turn(int milliseconds) {
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, milliseconds);
    for (int i = 0; i < n; i++) {
        Peer *p = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) { if (p->role == CLIENT) client_send(p); else worker_send(p); }
        if (events[i].events & ~EPOLLOUT) readable(p);
    }
    if (slow && slow->due && now() >= slow->due) slow_answer(slow);
}

static void wait_for_all(Peer *peers, int count) {
    double give_up = now() + 60;
    for (int i = 0; i < count; i++)
        while (peers[i].greeted < 3) {
            if (now() > give_up) { errno = ETIMEDOUT; die("handshakes"); }
            turn(100);
        }
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 11) { fprintf(stderr, "usage: see the first lines of load.c\n"); return 2; }
    int frontend = atoi(argv[1]), backend = atoi(argv[2]), clients = atoi(argv[3]), workers = atoi(argv[5]);
    int idle = atoi(argv[7]);
    size_t body = strtoul(argv[6], 0, 10);
    double warm_up = atof(argv[9]), seconds = atof(argv[10]);
    slowness = atof(argv[8]) / 1000;
    in_flight = atoi(argv[4]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    message = malloc(body + 16);
    size_t at = 0;
    message[at++] = 1; message[at++] = 0; /* the empty frame of a REQ */
    if (body < 256) { message[at++] = 0; message[at++] = (char)body; }
    else { message[at++] = 2; for (int shift = 56; shift >= 0; shift -= 8) message[at++] = (char)((uint64_t)body >> shift); }
    memset(message + at, 'x', body);
    message_size = at + body;
    latencies = malloc(latency_room * sizeof *latencies);

    epoll_fd = epoll_create1(0);
    Peer *all = calloc(workers + idle + clients, sizeof *all);
    if (!frontend) {
        int port = meeting_point();
        if (clients != workers || idle) { errno = EINVAL; die("without a broker: as many clients as workers"); }
        for (int i = 0; i < workers; i++) {
            open_peer(all + workers + i, CLIENT, port);
            open_peer(all + i, WORKER, 0);
        }
    }
    for (int i = 0; frontend && i < workers; i++) open_peer(all + i, WORKER, backend);
    wait_for_all(all, workers);
    if (slowness) slow = all;
    for (int i = 0; i < idle; i++) { open_peer(all + workers + i, IDLE, frontend); turn(0); }
    wait_for_all(all + workers, idle);
    for (int i = 0; frontend && i < clients; i++) open_peer(all + workers + idle + i, CLIENT, frontend);

    double start = now();
    while (now() < start + warm_up) turn(10);
    printf("{\"measuring\": true}\n"); fflush(stdout);
    counting = 1;
    start = now();
    double end = start + seconds, t;
    while ((t = now()) < end) turn(10);
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", (unsigned long long)requests,
           t - start, latency_count ? latencies[latency_count / 2] : 0.0,
           latency_count ? latencies[(size_t)(latency_count * 0.99)] : 0.0);
    return 0;
}
