// Runs a sampling plan (plan.py) on the CPU: one site after the other, float32, any number of examples.
//
// Invariant: the params of a site are bitwise equal for every batch size, position in the batch, number of threads and
// vector width. Every sum has one order: two chains, over the even and the odd inputs of each source, added at the
// end. Every product that is added is fused (-ffp-contract=fast). Exponentials use + - x only.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>
#include "levels.h"
#include "products.h"

namespace {

enum Kind { NOTHING, VECTOR, MAP };  // of context

// The same structures, field by field, as in layout.py.
struct Map { int32_t stride, rows, left, columns; int64_t offset; };  // a ring of rows, columns with margins
struct Ref { int32_t map, dy, dx, start; };                            // map[row - dy, column + dx][start:], map < 0: none
struct Source { Ref at; int32_t size, unused; };
struct Operation {
    int32_t size, activation, first_source, num_sources, depth, has_context;
    Ref out, add, cell, cell_out;
    int64_t weight, bias, context_bias;  // where they begin
};

}  // namespace

extern "C" {

struct Plan {
    const Map* maps;
    const Source* sources;
    const Operation* operations;
    const float *weights, *biases, *levels;  // levels: (K, features), the features of a level in map 0
    int32_t num_maps, row_end, sweep_end, site_end, channels, num_levels, features, height, width, columns;
    int32_t channel_masked, context_dim, context_size, max_sources, max_size, num_params;
    Ref params;
    int64_t state_size;
};

struct Walk {  // x: (B, C, sites), given where known and drawn elsewhere; u, known, log_p: (B, C, sites)
    const Plan* plan;
    const float* context;  // (B, D), or (B, H, columns, D)
    const float* u;
    int64_t* x;
    const uint8_t* known;  // null: nothing
    float* log_p;
    int64_t* progress;  // sites done, and whether to stop
    int32_t batch, threads, context_kind, block, law, components;
    float temperature;
};

struct Coding {  // x: (B, C, sites), given if intervals are wanted, else popped from the stack
    const Plan* plan;
    const float* context;
    int64_t* x;
    const int64_t* lengths;  // (B), sites from there on are absent; null: none
    Interval* intervals;     // (B, C, sites), or null
    Stack* stack;
    int32_t batch, threads, context_kind, block, law, components;
};

}  // extern "C"

namespace {

class Block {  // some examples on one core
  public:
    Block(const Plan& plan, const float* context, int kind, int n)
        : plan(plan), n(n), kind(kind), context(context), segments(plan.max_sources + 1), slots(plan.num_maps, 0),
          memory(n * plan.state_size + n * int64_t(plan.context_size) + std::max(n, plan.columns) * int64_t(plan.max_size) + 128, 0.f) {
        state = memory.data() + (16 - reinterpret_cast<uintptr_t>(memory.data()) / 4 % 16) % 16;
        bias = state + n * plan.state_size;
        sums = bias + n * int64_t(plan.context_size);
        for (int i = 0; kind == VECTOR && i < plan.site_end; ++i) {
            const Operation& op = plan.operations[i];
            if (!op.has_context) continue;
            segments[0] = {{const_cast<float*>(context), plan.context_dim, 0}, plan.context_dim};
            const Place out{bias + op.context_bias, plan.context_size, 0};
            multiply({segments.data(), 1, 1, plan.weights + op.weight + 16 * op.depth, depth(op), plan.biases + op.bias,
                      0, {}, out}, n, op.size);
        }
        begin_row();
    }

    const float* params(int s) { return place(plan.params, column).at(s, 0); }

    void show(int s, int channel, int64_t level) {
        float* to = place({0, 0, 0, channel * plan.features}, column).at(s, 0);
        std::memcpy(to, plan.levels + level * plan.features, plan.features * sizeof(float));
    }

    void site() { run(plan.sweep_end, plan.site_end, 0, n, column, 1); }

    bool push() {  // on to the next site; false after the last one
        if (++column < plan.width) return true;
        for (; column < plan.columns; ++column) site();  // beyond the image
        for (int c = plan.columns - 1; c >= 0; --c) run(plan.row_end, plan.sweep_end, 0, n, c, 1);
        column = 0;
        if (++row == plan.height) return false;
        for (int m = 0; m < plan.num_maps; ++m) slots[m] = row % plan.maps[m].rows;
        begin_row();
        return true;
    }

    int row = 0, column = 0;

  private:
    void begin_row() {
        for (int s = 0; s < n; ++s) run(0, plan.row_end, s, 1, 0, plan.columns);
    }

    int64_t depth(const Operation& op) const { return op.depth + (op.has_context ? plan.context_dim : 0); }

    Place place(const Ref& ref, int c) const {
        if (ref.map < 0) return {nullptr, 0, 0};
        const Map& map = plan.maps[ref.map];
        int slot = slots[ref.map] - ref.dy;
        if (slot < 0) slot += map.rows;
        const int64_t at = (int64_t(slot) * map.columns + map.left + c + ref.dx) * map.stride;
        return {state + map.offset + at + ref.start, plan.state_size, map.stride};
    }

    void run(int begin, int end, int first, int count, int c, int columns) {
        for (int i = begin; i < end; ++i) apply(plan.operations[i], first, count, c, columns);
    }

    void apply(const Operation& op, int first, int count, int c, int columns) {
        const auto from = [&](Place p) { return Place{p.base ? p.base + first * p.sample : nullptr, p.sample, p.column}; };
        const int64_t whole = (op.size + 15) / 16 * 16;
        const Place out = from(place(op.out, c)), add = from(place(op.add, c));
        Place from_sums{sums, columns * whole, whole};
        int used = 0;
        for (int i = 0; i < op.num_sources; ++i) {
            const Source& source = plan.sources[op.first_source + i];
            segments[used++] = {from(place(source.at, c)), source.size};
        }
        if (op.has_context && kind == MAP) {
            const int64_t D = plan.context_dim, at = (int64_t(row) * plan.columns + c) * D;
            const int64_t sample = int64_t(plan.height) * plan.columns * D;
            segments[used++] = {from({const_cast<float*>(context) + at, sample, D}), plan.context_dim};
        }
        const bool direct = op.activation == NONE;
        if (used || direct) {
            const bool own = op.has_context && kind == VECTOR;
            const float* b = own ? bias + first * plan.context_size + op.context_bias : plan.biases + op.bias;
            multiply({segments.data(), used, columns, plan.weights + op.weight, depth(op), b, own ? plan.context_size : 0,
                      add, direct ? out : from_sums}, count * columns, op.size);
        } else {
            from_sums = add;
        }
        if (direct) return;
        const Place cell = from(place(op.cell, c)), cell_out = from(place(op.cell_out, c));
        for (int s = 0; s < count; ++s)
            for (int j = 0; j < columns; ++j)
                activate(op.activation, op.size, from_sums.at(s, j), out.at(s, j), cell.at(s, j), cell_out.at(s, j));
    }

    const Plan& plan;
    const int n, kind;
    const float* context;
    std::vector<Segment> segments;
    std::vector<int> slots;  // the current row of every ring
    std::vector<float> memory;
    float *state, *bias, *sums;
};

template <class Work>
void in_parallel(int threads, int batch, int block, Work work) {  // every thread takes a block, then the next one
    std::atomic<int> next{0};
    const auto loop = [&] {
        for (int first; (first = next.fetch_add(block)) < batch;) work(first, std::min(block, batch - first));
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads && i * block < batch; ++i) others.emplace_back(loop);
    loop();
    for (auto& other : others) other.join();
}

void walk_block(const Walk& w, int first, int n) {
    const Plan& plan = *w.plan;
    const int64_t C = plan.channels, sites = int64_t(plan.height) * plan.width;
    const int64_t per_example = w.context_kind == MAP ? int64_t(plan.height) * plan.columns : 1;
    Block block(plan, w.context ? w.context + first * per_example * plan.context_dim : nullptr, w.context_kind, n);
    Chooser choose(w.law, plan.num_levels, plan.channels, w.components, w.temperature);
    std::vector<int64_t> here(n * C);
    for (int64_t site = 0; site < sites && !w.progress[1]; ++site) {
        for (int64_t c = 0; c < C; ++c) {
            if (c == 0 || plan.channel_masked) block.site();
            for (int s = 0; s < n; ++s) {
                const int64_t at = ((first + s) * C + c) * sites + site;
                if (!(w.known && w.known[at])) w.x[at] = choose.draw(block.params(s), &here[s * C], c, w.u[at]);
                here[s * C + c] = w.x[at];
                w.log_p[at] = choose.log_prob(block.params(s), &here[s * C], c);
                block.show(s, c, w.x[at]);
            }
        }
        block.push();
        __atomic_fetch_add(&w.progress[0], n, __ATOMIC_RELAXED);
    }
}

void code_block(const Coding& w, int first, int count) {  // site by site through all examples, a block at a time
    const Plan& plan = *w.plan;
    const int64_t C = plan.channels, sites = int64_t(plan.height) * plan.width;
    const int64_t per_example = w.context_kind == MAP ? int64_t(plan.height) * plan.columns : 1;
    std::vector<std::unique_ptr<Block>> blocks;
    for (int from = first; from < first + count; from += w.block)
        blocks.emplace_back(new Block(plan, w.context ? w.context + from * per_example * plan.context_dim : nullptr,
                                      w.context_kind, std::min(w.block, first + count - from)));
    Chooser choose(w.law, plan.num_levels, plan.channels, w.components, 1);
    std::vector<int64_t> here(count * C);
    for (int64_t site = 0; site < sites; ++site) {
        for (int64_t c = 0; c < C; ++c) {
            for (int i = 0; i < count; ++i) {
                Block& block = *blocks[i / w.block];
                const int s = i % w.block;
                if (s == 0 && (c == 0 || plan.channel_masked)) block.site();
                const int64_t at = ((first + i) * C + c) * sites + site;
                int64_t& level = here[i * C + c];
                if (w.lengths && site >= w.lengths[first + i]) {
                    w.x[at] = -1, level = 0;
                } else {
                    choose.prepare(block.params(s), &here[i * C], c);
                    level = w.stack ? choose.find(w.stack->slot()) : w.x[at];
                    const Interval interval = choose.interval(level);
                    if (w.stack) w.stack->pop(interval), w.x[at] = level;
                    if (w.intervals) w.intervals[at] = interval;
                }
                block.show(s, c, level);
            }
        }
        for (auto& block : blocks) block->push();
    }
}

}  // namespace

extern "C" {

int32_t lanes() { return LANES; }

void walk(const Walk* w) {
    in_parallel(w->threads, w->batch, w->block, [&](int first, int n) { walk_block(*w, first, n); });
}

// The intervals of given levels, by several threads; or the levels of a stack, in the order of sites.
void code(const Coding* w) {
    if (w->stack) code_block(*w, 0, w->batch);
    else in_parallel(w->threads, w->batch, w->block, [&](int first, int n) { code_block(*w, first, n); });
}

// One site at a time; the caller chooses the levels. x_site: (B, C); params: (B, P).
void* open_block(const Plan* plan, const float* context, int32_t kind, int32_t n) {
    return new Block(*plan, context, kind, n);
}
void show(void* block, const Plan* plan, const int64_t* x_site, int32_t n) {
    for (int s = 0; s < n; ++s)
        for (int c = 0; c < plan->channels; ++c) static_cast<Block*>(block)->show(s, c, x_site[s * plan->channels + c]);
}
void params(void* block, const Plan* plan, float* out, int32_t n) {
    static_cast<Block*>(block)->site();
    for (int s = 0; s < n; ++s)
        std::memcpy(out + s * plan->num_params, static_cast<Block*>(block)->params(s), plan->num_params * sizeof(float));
}
void push(void* block) { static_cast<Block*>(block)->push(); }
void close_block(void* block) { delete static_cast<Block*>(block); }
}
