/* Load for ingest: many RTMP publishers in one process, on one core.
 *
 *   yard_publish PORT MEDIA KEYS SECONDS
 *       Each line of the file KEYS is the name that one publisher publishes, in the application
 *       `live`. All play the file MEDIA, in a loop and in real time, each from a moment of its own;
 *       for SECONDS from when the last one has begun, then everything is closed.
 *
 * MEDIA is what Python makes of a clip: a number of messages, each `type, time_ms, size` (32 bits,
 * big-endian) and its payload, sorted by time; the last has type 0 and says how long the clip is.
 * Messages at time 0 that come before the first frame (metadata, sequence headers) are sent once.
 *
 * Chunks are of 4096 bytes, each message has a header of 11 bytes (RTMP 1.0, 5.3.1.2.1), as OBS
 * and FFmpeg send them. A publisher whose socket is full does not wait: its message is late, and
 * the latest is told, since a server that does not read looks cheap. One line of JSON at the end;
 * "begun" on standard output when all publish.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 4096, MAX_MESSAGES = 65536, MAX_PUBLISHERS = 4096, NAME = 256 };

struct message {
    uint32_t type, time_ms, size;
    const uint8_t *payload;
};

struct publisher {
    int fd;
    char name[NAME];
    double began_ms;      /* when message 0 of its first loop is due */
    int next;             /* message */
    uint32_t loop_ms;     /* media time at which its present loop began */
    uint8_t *pending;     /* a message that did not go out whole */
    size_t pending_bytes, pending_sent;
};

static struct message messages[MAX_MESSAGES];
static int message_count, first_frame;
static uint32_t clip_ms;
static struct publisher publishers[MAX_PUBLISHERS];
static int count;
static double latest_ms;
static unsigned long sent_messages, lost;
static unsigned long long sent_bytes;

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint32_t get32(const uint8_t *data) {
    return (uint32_t)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
}

static void load(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail(path);
    long size = ftell(file);
    uint8_t *data = malloc(size);
    rewind(file);
    if (!data || fread(data, 1, size, file) != (size_t)size) fail(path);
    for (long at = 0; at + 12 <= size && message_count < MAX_MESSAGES;) {
        struct message *one = &messages[message_count];
        one->type = get32(data + at);
        one->time_ms = get32(data + at + 4);
        one->size = get32(data + at + 8);
        one->payload = data + at + 12;
        at += 12 + one->size;
        if (one->type == 0) {
            clip_ms = one->time_ms;
            break;
        }
        /* Headers: metadata, and tags whose packet type is 0. */
        int is_header = one->type == 18 || (one->size > 1 && one->payload[1] == 0);
        if (is_header && first_frame == message_count) first_frame++;
        message_count++;
    }
    if (!clip_ms) exit(2);
}

/* A message as chunks; the caller frees it. */
static uint8_t *chunks_of(uint32_t type, uint32_t time, const uint8_t *payload, uint32_t size,
                          uint32_t chunk, uint32_t stream, size_t *total) {
    uint8_t *out = malloc(16 + size + size / chunk + 1), *at = out;
    uint8_t id = type == 9 ? 6 : type == 8 ? 4 : 3;
    if (!out) fail("malloc");
    *at++ = id;
    *at++ = time >> 16, *at++ = time >> 8, *at++ = time;
    *at++ = size >> 16, *at++ = size >> 8, *at++ = size;
    *at++ = type;
    *at++ = stream, *at++ = stream >> 8, *at++ = stream >> 16, *at++ = stream >> 24;
    for (uint32_t done = 0; done < size;) {
        uint32_t part = size - done < chunk ? size - done : chunk;
        if (done) *at++ = 0xC0 | id;
        memcpy(at, payload + done, part);
        at += part, done += part;
    }
    *total = at - out;
    return out;
}

static void send_all(int fd, const void *data, size_t size) {
    for (const char *at = data; size;) {
        ssize_t done = send(fd, at, size, MSG_NOSIGNAL);
        if (done < 0) fail("send");
        at += done, size -= done;
    }
}

static void command(int fd, const uint8_t *payload, size_t size, uint32_t stream) {
    size_t total;
    uint8_t *out = chunks_of(20, 0, payload, size, 128, stream, &total);
    send_all(fd, out, total);
    free(out);
}

static size_t amf_string(uint8_t *out, const char *text) {
    size_t size = strlen(text);
    out[0] = 2, out[1] = size >> 8, out[2] = size;
    memcpy(out + 3, text, size);
    return 3 + size;
}

static size_t amf_number(uint8_t *out, int number) { /* 1 to 4 */
    static const uint8_t bits[5][2] = {{0, 0}, {0x3F, 0xF0}, {0x40, 0}, {0x40, 0x08}, {0x40, 0x10}};
    memset(out, 0, 9);
    out[1] = bits[number][0], out[2] = bits[number][1];
    return 9;
}

/* Until the server has said a word. */
static void await(int fd, const char *word) {
    static char seen[1 << 16];
    size_t size = 0;
    while (!memmem(seen, size, word, strlen(word))) {
        ssize_t more = recv(fd, seen + size, sizeof seen - size, 0);
        if (more <= 0) fail(word);
        size += more;
    }
}

static void begin(struct publisher *one, int port) {
    static uint8_t hello[1 + 1536], answer[1 + 2 * 1536];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    uint8_t text[1024], *at = text;
    int on = 1;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (one->fd < 0 || connect(one->fd, (void *)&address, sizeof address)) fail("connect");
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    memset(hello, 0, sizeof hello);
    hello[0] = 3;
    send_all(one->fd, hello, sizeof hello);
    if (recv(one->fd, answer, sizeof answer, MSG_WAITALL) != sizeof answer) fail("handshake");
    send_all(one->fd, answer + 1, 1536);
    at += amf_string(at, "connect");
    at += amf_number(at, 1);
    *at++ = 3;
    memcpy(at, "\0\3app", 5), at += 5;
    at += amf_string(at, "live");
    memcpy(at, "\0\0\11", 3), at += 3;
    command(one->fd, text, at - text, 0);
    await(one->fd, "NetConnection.Connect.Success");
    at = text;
    at += amf_string(at, "createStream");
    at += amf_number(at, 2);
    *at++ = 5;
    command(one->fd, text, at - text, 0);
    await(one->fd, "_result");
    at = text;
    at += amf_string(at, "publish");
    at += amf_number(at, 3);
    *at++ = 5;
    at += amf_string(at, one->name);
    at += amf_string(at, "live");
    command(one->fd, text, at - text, 1);
    await(one->fd, "NetStream.Publish.Start");
    static const uint8_t set_chunk[] = {2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, CHUNK >> 8, 0};
    send_all(one->fd, set_chunk, sizeof set_chunk);
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
}

/* Send what is due; how long until the next message. */
static double play(struct publisher *one) {
    while (one->fd >= 0) {
        if (!one->pending) {
            struct message *next = &messages[one->next];
            double due_ms = one->began_ms + one->loop_ms + next->time_ms, late_ms = now_ms() - due_ms;
            if (late_ms < 0) return -late_ms;
            if (late_ms > latest_ms) latest_ms = late_ms;
            one->pending = chunks_of(next->type, one->loop_ms + next->time_ms, next->payload,
                                     next->size, CHUNK, 1, &one->pending_bytes);
            one->pending_sent = 0;
        }
        ssize_t done = send(one->fd, one->pending + one->pending_sent,
                            one->pending_bytes - one->pending_sent, MSG_NOSIGNAL);
        if (done < 0 && errno == EAGAIN) return 5;
        if (done < 0) {
            lost++;
            close(one->fd);
            one->fd = -1;
            return 1e9;
        }
        sent_bytes += done;
        one->pending_sent += done;
        if (one->pending_sent < one->pending_bytes) continue;
        free(one->pending);
        one->pending = NULL;
        sent_messages++;
        if (++one->next == message_count) {
            one->next = first_frame;
            one->loop_ms += clip_ms;
        }
    }
    return 1e9;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int port = atoi(argv[1]);
    double seconds = atof(argv[4]);
    load(argv[2]);
    FILE *keys = fopen(argv[3], "r");
    if (!keys) fail(argv[3]);
    while (count < MAX_PUBLISHERS && fscanf(keys, "%255s", publishers[count].name) == 1) count++;
    double spread_ms = 2000.0 / count; /* their keyframes come one after the other */
    int started = 0;
    double end_ms = 1e18, next_start_ms = now_ms();
    static char scratch[65536];
    while (now_ms() < end_ms) {
        double wait_ms = 5;
        if (started < count && now_ms() >= next_start_ms) {
            begin(&publishers[started], port);
            publishers[started++].began_ms = now_ms();
            next_start_ms += spread_ms > 10 ? spread_ms : 10;
            if (started == count) {
                end_ms = now_ms() + seconds * 1e3;
                latest_ms = 0, sent_messages = 0, sent_bytes = 0;
                puts("begun");
                fflush(stdout);
            }
            wait_ms = 0;
        }
        for (int index = 0; index < started; index++) {
            double next_ms = play(&publishers[index]);
            if (next_ms < wait_ms) wait_ms = next_ms;
            /* Acknowledgements. */
            if (sent_messages % 64 == 0 && publishers[index].fd >= 0)
                while (recv(publishers[index].fd, scratch, sizeof scratch, 0) > 0) {}
        }
        if (wait_ms > 0.05) usleep((useconds_t)(wait_ms * 1000));
    }
    printf("{\"messages\": %lu, \"bytes\": %llu, \"latest_ms\": %.0f, \"lost\": %lu}\n",
           sent_messages, sent_bytes, latest_ms, lost);
    return 0;
}
