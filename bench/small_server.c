// SPDX-License-Identifier: Apache-2.0
// What stands behind the proxies in the benchmark: answers every request on kept connections with
// 1 kB, as fast as it can. small_server PORT
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kBody = 1024, kMostFds = 4096 };
static char answer[kBody + 256];
static size_t answer_size;
// How much of "\r\n\r\n" the last bytes of each connection were.
static int matched[kMostFds];

static void Serve(int fd) {
  char buffer[16384];
  ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
  if (n <= 0) {
    close(fd);
    return;
  }
  for (ssize_t i = 0; i < n; ++i) {
    int* at = &matched[fd];
    *at = buffer[i] == "\r\n\r\n"[*at] ? *at + 1 : buffer[i] == '\r';
    if (*at < 4) continue;
    *at = 0;
    if (send(fd, answer, answer_size, MSG_NOSIGNAL) != (ssize_t)answer_size) {
      close(fd);
      return;
    }
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int on = 1;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr*)&address, sizeof(address)) != 0) return 1;
  if (listen(listener, 1024) != 0) return 1;
  answer_size = snprintf(answer, sizeof(answer),
                         "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", kBody);
  memset(answer + answer_size, 'x', kBody);
  answer_size += kBody;
  int poll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data = {.fd = listener}};
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    struct epoll_event ready[64];
    int count = epoll_wait(poll, ready, 64, -1);
    for (int i = 0; i < count; ++i) {
      int fd = ready[i].data.fd;
      if (fd != listener) {
        Serve(fd);
        continue;
      }
      int client = accept(listener, NULL, NULL);
      if (client < 0) continue;
      if (client >= kMostFds) {
        close(client);
        continue;
      }
      matched[client] = 0;
      setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      event.events = EPOLLIN;
      event.data.fd = client;
      epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
    }
  }
}
