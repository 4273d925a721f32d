// Apart from main.cpp: a program with a main of its own, a bench over a fleet, may use what is tested with.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
