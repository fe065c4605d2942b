// What the including file is compiled for: GTP_ISA, a name of kInstructionSets, with its sizes and intrinsics.
#pragma once

#include "cpu/dispatch.hpp"

#define GTP_PASTE(a, b) a##b
#define GTP_JOIN(a, b) GTP_PASTE(a, b)
#define GTP_TEXT_OF(name) #name
#define GTP_TEXT(name) GTP_TEXT_OF(name)

// Numbers of the names, for the preprocessor.
#define GTP_SET_portable 0
#define GTP_SET_neon 1
#define GTP_SET_avx2 2
#define GTP_SET_avx512 3
#define GTP_SET_avx512vnni 4
#define GTP_SET_avx512bf16 5
#define GTP_SET GTP_JOIN(GTP_SET_, GTP_ISA)

// The instructions that the code may name.
#define GTP_NEON (GTP_SET == GTP_SET_neon)
#define GTP_AVX2 (GTP_SET == GTP_SET_avx2)
#define GTP_AVX512 (GTP_SET >= GTP_SET_avx512)
#define GTP_VNNI (GTP_SET == GTP_SET_avx512vnni)
#define GTP_BF16 (GTP_SET == GTP_SET_avx512bf16)

#if GTP_NEON
#include <arm_neon.h>
#elif GTP_AVX2 || GTP_AVX512
#include <immintrin.h>
#endif

namespace gtp {

constexpr InstructionSet kOwn = kInstructionSets[GTP_SET];
constexpr int kLanes = kOwn.lanes, kLastLanes = kOwn.last_lanes, kTileRows = kOwn.rows;
constexpr int kPanel = 2 * kLanes;

constexpr bool same(const char* a, const char* b) { return *a == *b && (*a == '\0' || same(a + 1, b + 1)); }
static_assert(same(kOwn.name, GTP_TEXT(GTP_ISA)), "the numbers above are rows of kInstructionSets");

}  // namespace gtp
