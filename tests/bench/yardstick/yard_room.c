/* Load for a chat room, and its yardstick.
 *
 *   yard_room crowd PORT MEMBERS SLOW SPEAKERS PER_S SECONDS JOINING_S
 *       MEMBERS WebSocket clients join a room; SLOW more join and never read. When all are there, a
 *       line "joined" is printed; then the first SPEAKERS say PER_S messages a second together. Each
 *       member checks that ids grow, counts and hashes them, and measures each delivery: a message
 *       says when it was sent. Two seconds after the last, one line of JSON.
 *   yard_room loop PORT MEMBERS FRAME_BYTES PER_S SECONDS
 *       The bare server: accepts MEMBERS connections, then sends a frame to each of them, one after
 *       the other, PER_S times a second, and says what that took.
 *   yard_room read PORT MEMBERS SECONDS
 *       Its load: reads and drops.
 *
 * Both loads look for work without a pause: members are elsewhere, and a server does not pay for
 * waking them, which on a virtual machine costs as much as a send. One process each, one core. A member got every message exactly once and in order if its hash is
 * that of the first one and as many were counted as were said.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

enum { BATCH = 512, AT_ONCE = 64, SCRATCH = 1 << 20, MOST_MS = 20000, ENOUGH = 4096, SLOW_WINDOW = 4096 };

struct client {
    int fd, is_slow, is_joined, is_open;
    unsigned char *rest; /* of a frame that is not whole */
    size_t rest_bytes;
    uint64_t last_id, hash;
    unsigned long count;
};

static struct client *clients;
static int epoll, members, slow, joined, connecting, next_client;
static unsigned short port;
static unsigned char scratch[SCRATCH];
static unsigned long late_by_ms[MOST_MS + 1], deliveries, errors, refused, out_of_order, slow_ended;
static unsigned long long bytes;

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double used_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static size_t masked_text(unsigned char *frame, const char *text) {
    size_t size = strlen(text), head = 2;
    frame[0] = 0x81;
    if (size < 126) {
        frame[1] = (unsigned char)(0x80 | size);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (unsigned char)(size >> 8);
        frame[3] = (unsigned char)size;
        head = 4;
    }
    memset(frame + head, 0, 4); /* a mask of zeroes is one */
    memcpy(frame + head + 4, text, size);
    return head + 4 + size;
}

static void fail(struct client *client, const char *reason) {
    if (client->is_slow)
        slow_ended++;
    else if (errors++ == 0)
        fprintf(stderr, "first error: %s, member %ld, %s\n", reason, (long)(client - clients), strerror(errno));
    close(client->fd);
    client->fd = -1;
}

static int dial(int window) {
    static int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (window)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        return -1;
    return fd;
}

static void connect_next(void) {
    struct client *client = &clients[next_client];
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET, .data.ptr = client};
    client->is_slow = next_client >= members;
    next_client++;
    client->fd = dial(client->is_slow ? SLOW_WINDOW : 0);
    if (client->fd < 0) {
        fail(client, "connect");
        return;
    }
    connecting++;
    epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event);
}

static void ask_to_join(struct client *client) {
    static const char head[] =
        "GET /api/streams/s/chat/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\r\n";
    unsigned char data[1024];
    size_t size = sizeof head - 1;
    memcpy(data, head, size);
    size += masked_text(data + size, "{\"type\":\"join\"}");
    if (send(client->fd, data, size, MSG_NOSIGNAL) != (ssize_t)size)
        fail(client, "send");
}

static void say(struct client *client, unsigned long number) {
    unsigned char frame[256];
    char text[200];
    snprintf(text, sizeof text, "{\"type\":\"message\",\"content\":\"t%.0f n%lu, what a fine evening this is\"}",
             now_s() * 1e6, number);
    size_t size = masked_text(frame, text);
    if (client->fd >= 0 && send(client->fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size)
        fail(client, "say");
}

static int begins(const char *text, size_t size, const char *with) {
    return size >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

static void hear(struct client *client, const char *text, size_t size, double at_s) {
    const char *end = text + size;
    if (begins(text, size, "{\"type\":\"joined\"")) {
        client->is_joined = 1;
        joined++;
        connecting--;
    } else if (begins(text, size, "{\"type\":\"error\"")) {
        if (refused++ == 0)
            fprintf(stderr, "first refusal: %.*s\n", (int)size, text);
    } else if (begins(text, size, "{\"type\":\"messages\"")) {
        while ((text = memmem(text, (size_t)(end - text), "\"id\":\"", 6)) != NULL) {
            uint64_t id = strtoull(text + 6, NULL, 16);
            text = memmem(text, (size_t)(end - text), "\"content\":\"t", 12);
            if (text == NULL)
                break;
            double late_ms = (at_s - strtod(text + 12, NULL) / 1e6) * 1e3;
            out_of_order += id <= client->last_id;
            client->last_id = id;
            client->hash = (client->hash ^ id) * 1099511628211ULL;
            client->count++;
            deliveries++;
            late_by_ms[late_ms < 0 ? 0 : late_ms > MOST_MS ? MOST_MS : (int)late_ms]++;
        }
    }
}

static size_t read_frames(struct client *client, size_t have, double at_s) {
    size_t at = 0;
    if (!client->is_open) {
        unsigned char *end = memmem(scratch, have, "\r\n\r\n", 4);
        if (end == NULL)
            return 0;
        if (memcmp(scratch, "HTTP/1.1 101 ", 13) != 0) {
            fail(client, "status");
            return have;
        }
        client->is_open = 1;
        at = (size_t)(end + 4 - scratch);
    }
    while (have - at >= 2) {
        size_t length = scratch[at + 1] & 0x7f, head = 2;
        if (length == 126) {
            if (have - at < 4)
                break;
            length = (size_t)scratch[at + 2] << 8 | scratch[at + 3];
            head = 4;
        }
        if (have - at < head + length)
            break;
        if (scratch[at] == 0x81)
            hear(client, (char *)scratch + at + head, length, at_s);
        else if (scratch[at] == 0x89 && send(client->fd, "\x8a\x80\0\0\0\0", 6, MSG_NOSIGNAL) != 6)
            fail(client, "pong");
        at += head + length;
    }
    return at;
}

static void take(struct client *client) {
    while (client->fd >= 0) {
        size_t have = client->rest_bytes, done;
        if (have)
            memcpy(scratch, client->rest, have);
        ssize_t size = recv(client->fd, scratch + have, SCRATCH - have, 0);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size <= 0) {
            fail(client, size == 0 ? "end" : "receive");
            return;
        }
        bytes += (unsigned long long)size;
        have += (size_t)size;
        done = read_frames(client, have, now_s());
        free(client->rest);
        client->rest = NULL;
        client->rest_bytes = have - done;
        if (client->rest_bytes) {
            client->rest = malloc(client->rest_bytes);
            memcpy(client->rest, scratch + done, client->rest_bytes);
        }
        if ((size_t)size < ENOUGH) /* there is no more now, and another edge will come */
            return;
    }
}

static void wait_once(int timeout_ms) {
    struct epoll_event events[BATCH];
    int found = epoll_wait(epoll, events, BATCH, timeout_ms);
    for (int index = 0; index < found; index++) {
        struct client *client = events[index].data.ptr;
        if (client->fd < 0)
            continue;
        if (events[index].events & EPOLLOUT) {
            unsigned wanted = (client->is_slow ? 0u : EPOLLIN) | EPOLLRDHUP | EPOLLET;
            struct epoll_event event = {.events = wanted, .data.ptr = client};
            ask_to_join(client);
            if (client->is_slow) { /* it counts as joined: it will never read that it is */
                joined++;
                connecting--;
            }
            if (client->fd >= 0)
                epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
        } else if (client->is_slow) {
            fail(client, "end");
        } else {
            take(client);
        }
    }
}

static double percentile(double share) {
    unsigned long want = (unsigned long)((double)deliveries * share), sum = 0;
    for (int ms = 0; ms <= MOST_MS; ms++)
        if ((sum += late_by_ms[ms]) >= want)
            return ms;
    return MOST_MS;
}

static int crowd(char **argv) {
    members = atoi(argv[3]);
    slow = atoi(argv[4]);
    unsigned long speakers = strtoul(argv[5], NULL, 10), said = 0, wrong = 0;
    double per_s = atof(argv[6]), seconds = atof(argv[7]), joining_s = atof(argv[8]);
    double began_s = now_s(), before_s;
    clients = calloc((size_t)(members + slow), sizeof *clients);
    while (joined < members + slow && now_s() < began_s + joining_s) {
        while (next_client < members + slow && connecting < AT_ONCE)
            connect_next();
        wait_once(20);
    }
    printf("joined\n");
    fflush(stdout);
    for (double rest_s = now_s() + 1.0; now_s() < rest_s;)
        wait_once(20);
    began_s = now_s();
    before_s = used_s();
    unsigned long long before_bytes = bytes;
    while (now_s() < began_s + seconds + 2.0) {
        double since_s = now_s() - began_s;
        while (since_s < seconds && said < (unsigned long)(since_s * per_s)) {
            say(&clients[said % speakers], said);
            said++;
        }
        wait_once(0);
    }
    for (int index = 0; index < members; index++)
        wrong += clients[index].count != said || clients[index].hash != clients[0].hash;
    printf("{\"joined\": %d, \"said\": %lu, \"deliveries\": %lu, \"wrong\": %lu, \"out_of_order\": %lu, \"errors\": %lu, "
           "\"refused\": %lu, \"slow_ended\": %lu, \"p50_ms\": %.0f, \"p99_ms\": %.0f, \"max_ms\": %.0f, "
           "\"bytes\": %llu, \"cpu_s\": %.2f, \"seconds\": %.2f}\n",
           joined, said, deliveries, wrong, out_of_order, errors, refused, slow_ended, percentile(0.5),
           percentile(0.99), percentile(1.0), bytes - before_bytes, used_s() - before_s, now_s() - began_s);
    return 0;
}

static int loop(char **argv) {
    static int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    size_t size = strtoul(argv[4], NULL, 10);
    double per_s = atof(argv[5]), seconds = atof(argv[6]), began_s, before_s;
    int listener = socket(AF_INET, SOCK_STREAM, 0), *fds;
    unsigned long sent = 0, failed = 0;
    members = atoi(argv[3]);
    fds = calloc((size_t)members, sizeof *fds);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0)
        return 1;
    printf("ready\n");
    fflush(stdout);
    for (int index = 0; index < members; index++) {
        fds[index] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        setsockopt(fds[index], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    memset(scratch, 'x', size);
    began_s = now_s();
    before_s = used_s();
    for (double due_s = began_s; due_s < began_s + seconds; due_s += 1 / per_s) {
        while (now_s() < due_s)
            usleep(200);
        for (int index = 0; index < members; index++) {
            if (send(fds[index], scratch, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size)
                sent++;
            else
                failed++;
        }
    }
    printf("{\"deliveries\": %lu, \"failed\": %lu, \"cpu_s\": %.3f, \"seconds\": %.2f}\n", sent, failed,
           used_s() - before_s, now_s() - began_s);
    return 0;
}

static int reading(char **argv) {
    struct epoll_event events[BATCH];
    double end_s = now_s() + atof(argv[4]);
    members = atoi(argv[3]);
    for (int index = 0; index < members; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = dial(0)};
        epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
        if (index % AT_ONCE == 0)
            usleep(1000);
    }
    while (now_s() < end_s) {
        int found = epoll_wait(epoll, events, BATCH, 0);
        for (int index = 0; index < found; index++)
            if (recv(events[index].data.fd, scratch, SCRATCH, MSG_DONTWAIT | MSG_TRUNC) == 0)
                return 0;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    epoll = epoll_create1(0);
    port = (unsigned short)atoi(argv[2]);
    if (strcmp(argv[1], "crowd") == 0 && argc == 9)
        return crowd(argv);
    if (strcmp(argv[1], "loop") == 0 && argc == 7)
        return loop(argv);
    if (strcmp(argv[1], "read") == 0 && argc == 5)
        return reading(argv);
    return 2;
}
