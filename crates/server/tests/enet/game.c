// A game's side of ENet, on the original C library. Told by lines on its input, tells by lines on
// its output; what is sent and what came stands in hexadecimal digits.
//
//   game PORT CHANNELS [checksum] [compression]
//   < connect DATA | send CHANNEL MODE HEX | disconnect DATA | vanish
//   > connected | message CHANNEL HEX | disconnected DATA

#include <enet/enet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 1 << 20 };

static ENetHost *host;
static ENetPeer *server;
static char input[LINE];

static void send_hex(int channel, const char *mode, const char *hex) {
    size_t length = strlen(hex) / 2;
    int flags = strcmp(mode, "reliable") == 0      ? ENET_PACKET_FLAG_RELIABLE
                : strcmp(mode, "unsequenced") == 0 ? ENET_PACKET_FLAG_UNSEQUENCED
                : strcmp(mode, "pieces") == 0      ? ENET_PACKET_FLAG_UNRELIABLE_FRAGMENT
                                                   : 0;
    ENetPacket *packet = enet_packet_create(NULL, length, flags);
    for (size_t at = 0; at < length; at++) {
        unsigned byte = 0;
        sscanf(hex + 2 * at, "%2x", &byte);
        packet->data[at] = (enet_uint8)byte;
    }
    if (enet_peer_send(server, (enet_uint8)channel, packet) != 0) {
        puts("refused");
    }
}

static void obey(char *line, int port, int channels) {
    char *word = strtok(line, " ");
    if (word == NULL) {
        return;
    }
    if (strcmp(word, "connect") == 0) {
        ENetAddress address = {.port = (enet_uint16)port};
        enet_address_set_host_ip(&address, "127.0.0.1");
        server = enet_host_connect(host, &address, channels, (enet_uint32)atoi(strtok(NULL, " ")));
    } else if (strcmp(word, "send") == 0) {
        int channel = atoi(strtok(NULL, " "));
        const char *mode = strtok(NULL, " ");
        send_hex(channel, mode, strtok(NULL, " "));
    } else if (strcmp(word, "disconnect") == 0) {
        enet_peer_disconnect(server, (enet_uint32)atoi(strtok(NULL, " ")));
    } else if (strcmp(word, "vanish") == 0) {
        enet_peer_reset(server);
        puts("vanished");
    }
}

static void tell(const ENetEvent *event) {
    if (event->type == ENET_EVENT_TYPE_CONNECT) {
        puts("connected");
    } else if (event->type == ENET_EVENT_TYPE_DISCONNECT) {
        printf("disconnected %u\n", event->data);
    } else if (event->type == ENET_EVENT_TYPE_RECEIVE) {
        printf("message %u ", event->channelID);
        for (size_t at = 0; at < event->packet->dataLength; at++) {
            printf("%02x", event->packet->data[at]);
        }
        puts("");
        enet_packet_destroy(event->packet);
    }
}

int main(int count, char **words) {
    if (count < 3 || enet_initialize() != 0) {
        return 2;
    }
    host = enet_host_create(NULL, 4, 0, 0, 0);
    for (int at = 3; at < count; at++) {
        if (strcmp(words[at], "checksum") == 0) {
            host->checksum = enet_crc32;
        } else {
            enet_host_compress_with_range_coder(host);
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    size_t have = 0;
    for (;;) {
        struct pollfd both[2] = {{.fd = 0, .events = POLLIN}, {.fd = host->socket, .events = POLLIN}};
        poll(both, 2, 5);
        if (both[0].revents != 0) {
            ssize_t more = read(0, input + have, LINE - 1 - have);
            if (more <= 0) {
                return 0;
            }
            have += (size_t)more;
            input[have] = 0;
            for (char *end; (end = strchr(input, '\n')) != NULL;) {
                *end = 0;
                obey(input, atoi(words[1]), atoi(words[2]));
                have -= (size_t)(end + 1 - input);
                memmove(input, end + 1, have + 1);
            }
        }
        ENetEvent event;
        while (enet_host_service(host, &event, 0) > 0) {
            tell(&event);
        }
    }
}
