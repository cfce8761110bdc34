// sluice-init: captures the traffic of a network namespace. See --help.

#include <cstdlib>
#include <string>
#include <vector>

#include "cmd/sluice-init/run.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return sluice::init::Run(arguments, [](const char* name) { return std::getenv(name); });
}
