// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// For programs that are linked statically: glibc looks up names by shared libraries, which such a
// program cannot rely on. libnl has functions that would; Sluice calls none of them, and with these
// definitions they bring no resolver into the program.

#include <netdb.h>

extern "C" int getaddrinfo(const char*, const char*, const addrinfo*, addrinfo**) {
  return EAI_FAIL;
}
extern "C" protoent* getprotobyname(const char*) { return nullptr; }
extern "C" protoent* getprotobynumber(int) { return nullptr; }
