/* The yardstick of delivery: the least that a server has to do, in C, on one core.
 *
 * It serves what `delivery_server.py` serves, from memory, with an epoll descriptor and no library:
 * fixed objects, and a live stream of which a part and a playlist appear every interval, whose
 * requests are held until then. It trusts its clients: no limits, no time-outs, no checks. What a
 * real server costs more than this is what its users pay for its features.
 *
 *   yard_server PORT PLAYLIST_BYTES FIXED_BYTES PART_BYTES INTERVAL_MS START_MS
 *
 * START_MS is CLOCK_MONOTONIC: part N appears at START_MS + N * INTERVAL_MS. Port 0 is not chosen
 * by the kernel but refused. It prints "ready" and runs until SIGTERM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 20000, INPUT = 2048, BATCH = 512 };

struct object {
    char head[320];
    size_t head_bytes;
    const char *body;
    size_t body_bytes;
};

struct client {
    char input[INPUT];
    size_t input_bytes;
    const struct object *sending;
    size_t sent;
    long awaited; /* number of the part that its request is held for; -1: none */
    int awaits_playlist;
    int next; /* among those who are held */
};

static struct client *clients[MAX_FD];
static struct object fixed_playlist, fixed_part, live_playlist, live_part;
static int held = -1; /* the first of those who are held */
static long newest = -1;
static int epoll;

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

static void make(struct object *object, size_t bytes, const char *type) {
    char *body = malloc(bytes);
    memset(body, 'x', bytes);
    object->body = body;
    object->body_bytes = bytes;
    object->head_bytes = (size_t)snprintf(
        object->head, sizeof object->head,
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nCache-Control: public, max-age=86400\r\n"
        "Content-Length: %zu\r\nContent-Type: %s\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
        bytes, type);
}

static void drop(int fd) {
    struct client *client = clients[fd];
    if (client->awaited >= 0) {
        int *link = &held;
        while (*link != fd)
            link = &clients[*link]->next;
        *link = client->next;
    }
    free(client);
    clients[fd] = NULL;
    close(fd);
}

/* 1: all sent, 0: later, -1: gone. */
static int push(int fd) {
    struct client *client = clients[fd];
    const struct object *object = client->sending;
    while (client->sent < object->head_bytes + object->body_bytes) {
        struct iovec pieces[2];
        struct msghdr message = {.msg_iov = pieces};
        size_t skip = client->sent;
        if (skip < object->head_bytes) {
            pieces[0].iov_base = (char *)object->head + skip;
            pieces[0].iov_len = object->head_bytes - skip;
            pieces[1].iov_base = (char *)object->body;
            pieces[1].iov_len = object->body_bytes;
            message.msg_iovlen = 2;
        } else {
            skip -= object->head_bytes;
            pieces[0].iov_base = (char *)object->body + skip;
            pieces[0].iov_len = object->body_bytes - skip;
            message.msg_iovlen = 1;
        }
        ssize_t count = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (count < 0)
            return errno == EAGAIN ? 0 : -1;
        client->sent += (size_t)count;
    }
    client->sending = NULL;
    return 1;
}

static void answer(int fd, const struct object *object) {
    clients[fd]->sending = object;
    clients[fd]->sent = 0;
    if (push(fd) < 0)
        drop(fd);
}

static void request(int fd, const char *target) {
    static const char root[] = "/api/streams/s/source/";
    struct client *client = clients[fd];
    long number;
    target += sizeof root - 1;
    if (strncmp(target, "part-", 5) == 0) {
        number = strtol(target + 5, NULL, 10);
        client->awaits_playlist = 0;
    } else if (strncmp(target, "playlist.m3u8?_HLS_msn=", 23) == 0) {
        number = strtol(target + 23, NULL, 10);
        client->awaits_playlist = 1;
    } else {
        answer(fd, strncmp(target, "part", 4) == 0 ? &fixed_part : &fixed_playlist);
        return;
    }
    if (number <= newest) {
        answer(fd, client->awaits_playlist ? &live_playlist : &live_part);
        return;
    }
    client->awaited = number;
    client->next = held;
    held = fd;
}

static void take(int fd) {
    for (;;) {
        struct client *client = clients[fd];
        ssize_t count = recv(fd, client->input + client->input_bytes, INPUT - client->input_bytes - 1, 0);
        if (count == 0 || (count < 0 && errno != EAGAIN)) {
            drop(fd);
            return;
        }
        if (count < 0)
            return;
        client->input_bytes += (size_t)count;
        client->input[client->input_bytes] = 0;
        if (strstr(client->input, "\r\n\r\n") != NULL) { /* one at a time: nobody pipelines here */
            client->input_bytes = 0;
            request(fd, client->input + 4);
            if (clients[fd] == NULL)
                return;
        }
    }
}

static void publish(void) {
    int fd = held;
    held = -1;
    newest++;
    while (fd >= 0) {
        struct client *client = clients[fd];
        int next = client->next;
        if (client->awaited <= newest) {
            client->awaited = -1;
            answer(fd, client->awaits_playlist ? &live_playlist : &live_part);
        } else {
            client->next = held;
            held = fd;
        }
        fd = next;
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event, events[BATCH];
    int one = 1, listener;
    long interval_ms, start_ms;
    if (argc != 7 || atoi(argv[1]) == 0)
        return 2;
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    make(&fixed_playlist, (size_t)atol(argv[2]), "application/vnd.apple.mpegurl");
    make(&fixed_part, (size_t)atol(argv[3]), "video/mp4");
    make(&live_playlist, (size_t)atol(argv[2]), "application/vnd.apple.mpegurl");
    make(&live_part, (size_t)atol(argv[4]), "video/mp4");
    interval_ms = atol(argv[5]);
    start_ms = atol(argv[6]);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("listen");
        return 1;
    }
    epoll = epoll_create1(0);
    event.events = EPOLLIN;
    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        long wait_ms = start_ms + (newest + 1) * interval_ms - now_ms();
        int count;
        if (wait_ms <= 0) {
            publish();
            continue;
        }
        count = epoll_wait(epoll, events, BATCH, (int)wait_ms);
        for (int index = 0; index < count; index++) {
            int fd = events[index].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (fd >= MAX_FD) {
                        close(fd);
                        continue;
                    }
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    clients[fd] = calloc(1, sizeof(struct client));
                    clients[fd]->awaited = -1;
                    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
                    event.data.fd = fd;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            if (clients[fd] != NULL && clients[fd]->sending != NULL && push(fd) < 0)
                drop(fd);
            if (clients[fd] != NULL && clients[fd]->sending == NULL)
                take(fd);
        }
    }
}
