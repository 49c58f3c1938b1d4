// An asymmetric numeral system: a stack of symbols, each an interval of the 2^24 values of a slot. Integers only.
//
// Invariant: head is in [2^32, 2^64), and push after pop, or pop after push, restores head and words exactly.
// Asymmetric numeral systems (Duda, 2009), https://arxiv.org/abs/0902.0271
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

constexpr int SLOT_BITS = 24;
constexpr uint32_t SLOTS = 1u << SLOT_BITS;

struct Interval { uint32_t start, size; };

struct Stack {
    uint64_t head;
    std::vector<uint32_t> words;
    int64_t borrowed = 0;  // initial words that were taken from below the bottom

    void push(Interval symbol) {
        if (symbol.size == SLOTS) return;  // certain
        if (head >= uint64_t(symbol.size) << (64 - SLOT_BITS)) words.push_back(uint32_t(head)), head >>= 32;
        head = (head / symbol.size << SLOT_BITS) + head % symbol.size + symbol.start;
    }

    uint32_t slot() const { return uint32_t(head) & (SLOTS - 1); }

    void pop(Interval symbol) {  // the interval that holds the slot
        if (symbol.size == SLOTS) return;
        head = symbol.size * (head >> SLOT_BITS) + slot() - symbol.start;
        if (head >> 32) return;
        head = head << 32 | (words.empty() ? initial(borrowed++) : words.back());
        if (!words.empty()) words.pop_back();
    }

    // SplitMix64 from seed 0 (Steele et al., 2014), upper half.
    static uint32_t initial(uint64_t index) {
        uint64_t z = (index + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return uint32_t((z ^ (z >> 31)) >> 32);
    }
};

// A normal distribution on a grid of bins, from tables of integers; every bin has at least one value of the slot.
struct Grid {
    const int64_t* edges;     // (bins + 1), in units of 2^-16; the outer two are not read
    const int64_t* cdf;       // (4098) of the standard normal, from -8 to 8 in steps of 2^-8, in units of 2^-30
    const int64_t* inverses;  // (scales) 1 / scale, in units of 2^-16
    int64_t bins;

    uint32_t below(int64_t bin, int64_t loc, int64_t scale) const {
        if (bin == 0 || bin == bins) return bin ? SLOTS : 0;
        int64_t at = (((edges[bin] - loc) * inverses[scale]) >> 8) + (int64_t(8) << 24);  // in units of 2^-24
        at = at < 0 ? 0 : at > int64_t(16) << 24 ? int64_t(16) << 24 : at;
        const int64_t low = cdf[at >> 16], high = cdf[(at >> 16) + 1];
        const int64_t mass = low + (((high - low) * (at & 0xFFFF)) >> 16);
        return uint32_t(bin + (((SLOTS - bins) * mass) >> 30));
    }

    Interval interval(int64_t bin, int64_t loc, int64_t scale) const {
        const uint32_t start = below(bin, loc, scale);
        return {start, below(bin + 1, loc, scale) - start};
    }

    int64_t find(uint32_t slot, int64_t loc, int64_t scale) const {
        int64_t low = 0, high = bins - 1;
        while (low < high) {
            const int64_t middle = (low + high + 1) / 2;
            (below(middle, loc, scale) <= slot ? low : high) = below(middle, loc, scale) <= slot ? middle : middle - 1;
        }
        return low;
    }
};

}  // namespace

extern "C" {

Stack* open_stack(uint64_t head, const uint32_t* words, int64_t size) { return new Stack{head, {words, words + size}}; }
void close_stack(Stack* stack) { delete stack; }
uint64_t read_stack(const Stack* stack, uint32_t* words) {  // the head; all words, if there is a place for them
    if (words) std::copy(stack->words.begin(), stack->words.end(), words);
    return stack->head;
}
int64_t stack_size(const Stack* stack) { return stack->words.size(); }
int64_t stack_borrowed(const Stack* stack) { return stack->borrowed; }

void push_intervals(Stack* stack, const Interval* intervals, int64_t n) {  // the last one first; absent ones have size 0
    while (n--)
        if (intervals[n].size) stack->push(intervals[n]);
}
void pop_uniform(Stack* stack, int64_t levels, int64_t* out, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        const int64_t k = out[i] = ((int64_t(stack->slot()) + 1) * levels - 1) >> SLOT_BITS;
        const int64_t start = (k << SLOT_BITS) / levels, end = ((k + 1) << SLOT_BITS) / levels;
        stack->pop({uint32_t(start), uint32_t(end - start)});
    }
}
void pop_normal(Stack* stack, const Grid* grid, const int64_t* locs, const int64_t* scales, int64_t* out, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        out[i] = grid->find(stack->slot(), locs[i], scales[i]);
        stack->pop(grid->interval(out[i], locs[i], scales[i]));
    }
}
void push_normal(Stack* stack, const Grid* grid, const int64_t* locs, const int64_t* scales, const int64_t* bins, int64_t n) {
    while (n--) stack->push(grid->interval(bins[n], locs[n], scales[n]));
}

}
