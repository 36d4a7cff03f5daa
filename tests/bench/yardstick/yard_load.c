/* Load for delivery: many HTTP/1.1 clients in one process, on one core.
 *
 *   yard_load rps PORT TARGET CONNECTIONS SECONDS
 *       Each connection asks again as soon as it has its answer.
 *   yard_load live PORT VIEWERS SECONDS INTERVAL_MS START_MS PART_BYTES WARM_UP_S
 *       Each viewer does what a low-latency player does for every part: it asks for the playlist
 *       that has it, which is held until it is there, and then for the part. Part N appears at
 *       START_MS + N * INTERVAL_MS of CLOCK_MONOTONIC. What happens in the first WARM_UP_S, while
 *       viewers come, is not judged.
 *
 * Bodies are counted and dropped in the kernel (MSG_TRUNC), except the first of each connection,
 * whose bytes are looked at: the load must cost less than what it loads. One line of JSON at the
 * end, in which `parts` are those that all viewers got, and the spread of one is from the first of
 * them to the last. A viewer's part that is complete more than a second after it appeared is a stall: a player
 * has about so much in its buffer.
 */
#define _GNU_SOURCE
#define CONNECTING_SHARE 0.6 /* of the warm-up, in which viewers come one after the other */
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

enum { HEAD = 3072 /* a playlist's answer in one call */, BATCH = 1024, STALL_MS = 1000, MAX_PARTS = 4096, CONNECT_AT_ONCE = 200 };

struct client {
    int fd;
    int is_connected;
    int wants_part;   /* live: the playlist is there, now the part */
    long number;      /* live: of the part */
    char head[HEAD];
    size_t head_bytes;
    size_t body_left; /* of the answer that is coming */
    int in_body;
    unsigned long answers;
};

static struct client *clients;
static int epoll, is_live, count, connecting, next_to_connect;
static unsigned short port;
static const char *target;
static long interval_ms, start_ms;
static size_t part_bytes;
static double first_ms[MAX_PARTS], last_ms[MAX_PARTS];
static int complete[MAX_PARTS];
static unsigned long answers, errors, stalls, judged;
static unsigned long long bytes;
static double judged_from_ms, end_at_ms, latest_ms;
static char scratch[1 << 20];

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void fail(struct client *client, const char *reason) {
    if (errors++ == 0)
        fprintf(stderr, "first error: %s, part %ld, head: %.*s\n", reason, client->number,
                (int)strcspn(client->head, "\r"), client->head);
    close(client->fd);
    client->fd = -1;
}

static void ask(struct client *client) {
    char text[512];
    char path[128];
    int size;
    if (!is_live)
        snprintf(path, sizeof path, "%s", target);
    else if (client->wants_part)
        snprintf(path, sizeof path, "/api/streams/s/source/part-%ld.m4s", client->number);
    else
        snprintf(path, sizeof path, "/api/streams/s/source/playlist.m3u8?_HLS_msn=%ld&_HLS_part=0", client->number);
    size = snprintf(text, sizeof text,
                    "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n"
                    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: */*\r\n"
                    "Referer: http://127.0.0.1/watch/s\r\nAccept-Language: en-US,en;q=0.9\r\n\r\n", path);
    client->head_bytes = 0;
    client->in_body = 0;
    if (send(client->fd, text, (size_t)size, MSG_NOSIGNAL) != size)
        fail(client, "send");
}

static void connect_next(void) {
    static int one = 1;
    struct client *client = &clients[next_to_connect];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    next_to_connect++;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        fail(client, "connect");
        return;
    }
    connecting++;
    epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event);
}

static long next_number(void) {
    double since_ms = now_ms() - (double)start_ms;
    return since_ms < 0 ? 0 : (long)(since_ms / (double)interval_ms) + 1;
}

static void answered(struct client *client) {
    double at_ms = now_ms();
    answers++;
    client->answers++;
    if (is_live && client->wants_part) {
        double late_ms = at_ms - (double)(start_ms + client->number * interval_ms);
        int is_judged = (double)(start_ms + client->number * interval_ms) >= judged_from_ms;
        if (is_judged && client->number < MAX_PARTS) {
            if (complete[client->number]++ == 0)
                first_ms[client->number] = at_ms;
            last_ms[client->number] = at_ms;
        }
        judged += is_judged;
        stalls += is_judged && late_ms > STALL_MS;
        if (is_judged && late_ms > latest_ms)
            latest_ms = late_ms;
        client->number++;
        if (late_ms > STALL_MS) /* it goes back to the live edge, as a player does */
            client->number = next_number();
    }
    if (is_live)
        client->wants_part = !client->wants_part;
    if (at_ms < end_at_ms)
        ask(client);
}

static int head_is_whole(struct client *client) {
    char *end, *length;
    client->head[client->head_bytes] = 0;
    end = strstr(client->head, "\r\n\r\n");
    if (end == NULL)
        return 0;
    if (strncmp(client->head, "HTTP/1.1 200 ", 13) != 0) {
        fail(client, "status");
        return 0;
    }
    length = strcasestr(client->head, "\r\ncontent-length:");
    client->body_left = length == NULL ? 0 : strtoul(length + 17, NULL, 10);
    if (is_live && client->wants_part && client->body_left != part_bytes)
        errors++;
    end += 4;
    size_t extra = client->head_bytes - (size_t)(end - client->head);
    bytes += client->head_bytes;
    client->body_left -= extra;
    client->in_body = 1;
    return 1;
}

static void take(struct client *client) {
    while (client->fd >= 0) {
        ssize_t size;
        if (!client->in_body) {
            size = recv(client->fd, client->head + client->head_bytes, HEAD - 1 - client->head_bytes, 0);
            if (size > 0) {
                client->head_bytes += (size_t)size;
                head_is_whole(client);
            }
        } else {
            size_t want = client->body_left < sizeof scratch ? client->body_left : sizeof scratch;
            int looks = client->answers == 0;
            size = recv(client->fd, scratch, want, looks ? 0 : MSG_TRUNC);
            if (size > 0) {
                if (looks && memchr(scratch, 0, (size_t)size) != NULL)
                    errors++; /* bodies of the yardstick hold no zero */
                client->body_left -= (size_t)size;
                bytes += (unsigned long long)size;
            }
        }
        if (client->fd < 0)
            return;
        if (size == 0 || (size < 0 && errno != EAGAIN)) {
            fail(client, size == 0 ? "end" : "receive");
            return;
        }
        if (size < 0)
            return;
        if (client->in_body && client->body_left == 0) {
            answered(client);
            return; /* nothing can have come before the server has the next request */
        }
    }
}

static int by_value(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return difference < 0 ? -1 : difference > 0;
}

int main(int argc, char **argv) {
    struct epoll_event events[BATCH];
    double began_ms, seconds, warm_up_ms = 0, spreads[MAX_PARTS];
    int parts = 0;
    if (argc != 6 && argc != 9)
        return 2;
    is_live = strcmp(argv[1], "live") == 0;
    port = (unsigned short)atoi(argv[2]);
    if (is_live) {
        count = atoi(argv[3]);
        seconds = atof(argv[4]);
        interval_ms = atol(argv[5]);
        start_ms = atol(argv[6]);
        part_bytes = strtoul(argv[7], NULL, 10);
        warm_up_ms = atof(argv[8]) * 1e3;
        judged_from_ms = now_ms() + warm_up_ms;
    } else {
        target = argv[3];
        count = atoi(argv[4]);
        seconds = atof(argv[5]);
    }
    clients = calloc((size_t)count, sizeof *clients);
    epoll = epoll_create1(0);
    began_ms = now_ms();
    end_at_ms = began_ms + seconds * 1e3;
    while (now_ms() < end_at_ms) {
        double share = warm_up_ms > 0 ? (now_ms() - began_ms) / (warm_up_ms * CONNECTING_SHARE) : 1;
        while (next_to_connect < count && next_to_connect <= count * share && connecting < CONNECT_AT_ONCE)
            connect_next();
        int found = epoll_wait(epoll, events, BATCH, 50);
        for (int index = 0; index < found; index++) {
            struct client *client = events[index].data.ptr;
            if (client->fd < 0)
                continue;
            if (!client->is_connected && (events[index].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
                int problem = 0;
                socklen_t size = sizeof problem;
                getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
                connecting--;
                if (problem) {
                    fail(client, "connect");
                    continue;
                }
                client->is_connected = 1;
                client->number = next_number();
                ask(client);
                continue;
            }
            if (events[index].events & EPOLLIN)
                take(client);
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    double took_s = (now_ms() - began_ms) / 1e3;
    for (int number = 0; number < MAX_PARTS; number++)
        if (complete[number] == count) /* parts that everybody got */
            spreads[parts++] = last_ms[number] - first_ms[number];
    qsort(spreads, (size_t)parts, sizeof *spreads, by_value);
    printf("{\"answers\": %lu, \"errors\": %lu, \"bytes\": %llu, \"seconds\": %.3f, \"judged\": %lu, \"parts\": %d, "
           "\"spread_p50_ms\": %.1f, \"spread_p99_ms\": %.1f, \"spread_max_ms\": %.1f, "
           "\"latest_ms\": %.1f, \"stalls\": %lu, \"cpu_s\": %.2f}\n",
           answers, errors, bytes, took_s, judged, parts, parts ? spreads[parts / 2] : 0.0,
           parts ? spreads[parts * 99 / 100] : 0.0, parts ? spreads[parts - 1] : 0.0, latest_ms, stalls, cpu_s);
    return 0;
}
