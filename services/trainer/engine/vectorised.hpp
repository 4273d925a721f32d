#pragma once

/// A function with loops that are compiled for AVX-512, for AVX2 and for any processor, chosen when the
/// program starts.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TROUPE_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TROUPE_VECTORISED
#endif
