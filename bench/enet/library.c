// A server and its members on ENet's own C library, for `roomcast bench link --beside`: what the
// library makes of a bad link. All in one process and on one clock, as roomcast's own members are.
//
//   cc -O2 -o /tmp/library bench/enet/library.c -lenet        (Debian: libenet-dev)
//   roomcast bench link --transport enet --beside /tmp/library
//
//   library [unthrottled] MEMBERS RATE BYTES SECONDS
//   > port PORT                   where the server listens
//   < link PORT                   where the bad link to it is entered
//   > ready                       all members are connected; the link is good until then
//   < begin
//   > said CLASS N MICROS         at the end, in microseconds since `begin`; class 0 has to arrive
//   > heard MEMBER CLASS N MICROS
//
// `unthrottled` is what a program can ask of the library: to drop nothing that is unreliable.

#include <enet/enet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MEMBERS_MAX = 100, CLASSES = 2, SETTLE_SECONDS = 20 };

struct heard {
    int member, class;
    unsigned n;
    long long micros;
};

static ENetHost *hosts[MEMBERS_MAX + 1];  // The server stands first.
static ENetPeer *members[MEMBERS_MAX];
static int members_count, connected;
static struct heard *heard;
static size_t heard_count, heard_max, reliable_heard;
static long long begun;

static long long micros(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void note(int member, const ENetEvent *event) {
    struct heard *entry = &heard[heard_count];
    if (heard_count == heard_max || event->packet->dataLength < sizeof entry->n) {
        return;
    }
    *entry = (struct heard){member, event->channelID, 0, micros() - begun};
    memcpy(&entry->n, event->packet->data, sizeof entry->n);
    heard_count++;
    reliable_heard += event->channelID == 0;
}

// Lets all hosts work until `until`, at least once.
static void serve(long long until) {
    do {
        struct pollfd sockets[MEMBERS_MAX + 1];
        for (int at = 0; at <= members_count; at++) {
            sockets[at] = (struct pollfd){.fd = hosts[at]->socket, .events = POLLIN};
        }
        poll(sockets, (nfds_t)members_count + 1, 1);
        for (int at = 0; at <= members_count; at++) {
            ENetEvent event;
            while (enet_host_service(hosts[at], &event, 0) > 0) {
                if (event.type == ENET_EVENT_TYPE_CONNECT && at > 0) {
                    connected++;
                } else if (event.type == ENET_EVENT_TYPE_DISCONNECT) {
                    fprintf(stderr, "%s was disconnected\n", at == 0 ? "a peer" : "a member");
                } else if (event.type == ENET_EVENT_TYPE_RECEIVE) {
                    note(at - 1, &event);
                    enet_packet_destroy(event.packet);
                }
            }
        }
    } while (micros() < until);
}

static void open_server(void) {
    ENetAddress address = {.port = 0};
    enet_address_set_host_ip(&address, "127.0.0.1");
    hosts[0] = enet_host_create(&address, MEMBERS_MAX, CLASSES, 0, 0);
    enet_socket_get_address(hosts[0]->socket, &address);
    printf("port %u\n", address.port);
}

static void open_members(unsigned port) {
    ENetAddress address = {.port = (enet_uint16)port};
    enet_address_set_host_ip(&address, "127.0.0.1");
    for (int at = 0; at < members_count; at++) {
        hosts[at + 1] = enet_host_create(NULL, 1, CLASSES, 0, 0);
        members[at] = enet_host_connect(hosts[at + 1], &address, CLASSES, 0);
    }
    while (connected < members_count) {
        serve(0);
    }
    puts("ready");
}

static void say(int class, unsigned n, size_t bytes) {
    enet_uint32 flags = class == 0 ? ENET_PACKET_FLAG_RELIABLE : 0;
    ENetPacket *packet = enet_packet_create(NULL, bytes, flags);
    memset(packet->data, 'x', bytes);
    memcpy(packet->data, &n, sizeof n);
    enet_host_broadcast(hosts[0], (enet_uint8)class, packet);
    enet_host_flush(hosts[0]);
}

int main(int count, char **words) {
    int unthrottled = count == 6 && strcmp(words[1], "unthrottled") == 0;
    if (count != 5 + unthrottled || enet_initialize() != 0) {
        return 2;
    }
    words += unthrottled;
    members_count = atoi(words[1]);
    double rate = atof(words[2]), seconds = atof(words[4]);
    size_t bytes = (size_t)atol(words[3]), said = (size_t)(rate * seconds);
    unsigned port;
    if (members_count > MEMBERS_MAX || bytes < sizeof(unsigned)) {
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_server();
    if (scanf(" link %u", &port) != 1) {
        return 2;
    }
    // Of what is heard twice, or late, there may be more than was said.
    heard_max = 2 * CLASSES * said * (size_t)members_count;
    heard = calloc(heard_max, sizeof *heard);
    long long *times = calloc(said, sizeof *times);
    open_members(port);
    for (size_t at = 0; unthrottled && at < hosts[0]->peerCount; at++) {
        enet_peer_throttle_configure(&hosts[0]->peers[at], 5000, 32, 0);
    }
    char word[8];
    if (scanf(" %7s", word) != 1 || strcmp(word, "begin") != 0) {
        return 2;
    }
    begun = micros();
    for (size_t n = 0; n < said; n++) {
        serve(begun + (long long)((double)n * 1e6 / rate));
        times[n] = micros() - begun;
        say(0, (unsigned)n, bytes);
        say(1, (unsigned)n, bytes);
    }
    long long until = micros() + SETTLE_SECONDS * 1000000LL;
    while (micros() < until && reliable_heard < said * (size_t)members_count) {
        serve(0);
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    for (size_t n = 0; n < said; n++) {
        printf("said 0 %zu %lld\nsaid 1 %zu %lld\n", n, times[n], n, times[n]);
    }
    for (size_t at = 0; at < heard_count; at++) {
        struct heard *entry = &heard[at];
        printf("heard %d %d %u %lld\n", entry->member, entry->class, entry->n, entry->micros);
    }
    return 0;
}
