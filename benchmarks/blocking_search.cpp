// Short schedules of the swap-allowed blocking job shop: jobs are taken out and put back, with simulated annealing.
//
//   g++ -O2 -o search benchmarks/blocking_search.cpp        (python benchmarks/blocking.py improve does it)
//   search SECONDS SEED HEAT < instance     jobs machines, then per job its length and pairs (machine, duration)
//                                           then, if there is a schedule to start from, the start of every operation
//
// On a machine, an operation takes it from its entry to the entry of the job's next one; the last one leaves at its end.
// So a schedule is an order of the operations on every machine, and its entries are longest paths. A job is put back by
// dynamic programming over the gaps of its machines: a gap opens at the earliest time at which the operation before it
// can leave, and closes between the time at which the operation behind it enters (which always fits) and the latest at
// which it may without a longer makespan. The share of that slack is drawn, since shifts that are possible one by one may
// not be together; orders that contradict themselves are thrown away. The problem is the same backwards in time, and is
// turned round every now and then. Prints each makespan that is better than those before, with all entries.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <numeric>
#include <vector>

using namespace std;
using Row = vector<int>;
const int FAR = 1 << 30;

int jobs, machines, nodes;
Row first, length_, job_of, machine_, duration;  // node = first[j] + k: entry of operation k, k = length: the job is out
vector<Row> sequence;                           // of entries, by machine
Row at;                                         // entry times; a job that is out of the schedule is not in `sequence`
vector<char> in;
bool turned = false;

uint64_t noise;
uint32_t draw(uint32_t below) {
    noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
    return (noise >> 32) * uint64_t(below) >> 32;
}
double uniform() { return draw(1u << 24) / double(1 << 24); }

Row by_time, before;  // operations in order of time; the operation ahead on the machine, or -1

void arrange() {
    static vector<uint64_t> keys;
    keys.clear(), by_time.clear();
    for (auto& row : sequence)
        for (size_t i = 0; i < row.size(); i++) {
            before[row[i]] = i ? row[i - 1] : -1;
            keys.push_back(uint64_t(at[row[i]]) << 32 | (nodes - row[i]));
        }
    sort(keys.begin(), keys.end());
    for (uint64_t key : keys) by_time.push_back(nodes - int(key & 0xffffffff));
}

// Earliest entries for `sequence`, by passes in the order of the entries before; false for orders without a schedule.
bool shift(int cap) {
    arrange();
    for (int v : by_time) at[v] = at[v + 1] = 0;
    for (int pass = 0, changed = 1; changed; pass++) {
        if (pass > 60) return false;
        changed = 0;
        for (int v : by_time) {
            int time = at[v], ahead = before[v];
            if (ahead >= 0) time = max(time, at[ahead + 1]);
            if (v > first[job_of[v]]) time = max(time, at[v - 1] + duration[v - 1]);
            if (time > cap) return false;
            if (time > at[v]) at[v] = time, changed = 1;
            if (time + duration[v] > at[v + 1]) at[v + 1] = time + duration[v], changed = 1;
        }
    }
    return true;
}

// Longest path from every entry to the end of the schedule.
void tails(Row& tail) {
    tail.assign(nodes, 0);
    for (int changed = 1; changed;) {
        changed = 0;
        for (int i = by_time.size() - 1; i >= 0; i--) {
            int v = by_time[i], time = max(tail[v], tail[v + 1] + duration[v]);
            if (time > tail[v]) tail[v] = time, changed = 1;
            if (before[v] >= 0 && tail[v] > tail[before[v] + 1]) tail[before[v] + 1] = tail[v], changed = 1;
        }
    }
}

int makespan() {
    int most = 0;
    for (int j = 0; j < jobs; j++)
        if (in[j]) most = max(most, at[first[j] + length_[j]]);
    return most;
}

double score() {
    double sum = 0;
    for (int j = 0; j < jobs; j++) sum += at[first[j] + length_[j]];
    return makespan() + 0.5 * sum / jobs;
}

struct Gap { int from, to, place; };

// Put job j where it ends first, if gaps close after `share` of their slack to the makespan `goal`.
bool insert(int j, double share, int goal, int cap) {
    static vector<vector<Gap>> gaps, layers;
    static Row tail, time, place;
    int n = length_[j];
    goal = max(goal, makespan());
    if (share > 0) tails(tail);
    gaps.resize(machines), layers.resize(n), time.assign(n + 1, 0), place.assign(n, 0);
    for (int m = 0; m < machines; m++) {
        gaps[m].clear();
        int open = 0, i = 0;
        for (int v : sequence[m]) {
            int slack = share > 0 ? max(goal - tail[v] - at[v], 0) : 0;
            gaps[m].push_back({open, at[v] + int(share * slack), i++});
            open = at[v + 1];
        }
        gaps[m].push_back({open, FAR, i});
    }
    for (int k = 0; k < n; k++) {  // earliest entry into every gap
        int v = first[j] + k, p = duration[v];
        auto& layer = layers[k];
        layer.clear();
        size_t i = 0;
        for (auto& gap : gaps[machine_[v]]) {
            int time = gap.from;
            if (gap.to - gap.from < p) continue;
            if (k) {
                auto& old = layers[k - 1];
                while (i < old.size() && old[i].to < gap.from) i++;
                if (i == old.size()) break;
                time = max(time, old[i].from + duration[v - 1]);
            }
            if (time + p <= gap.to) layer.push_back({time, gap.to, gap.place});
        }
        if (layer.empty()) return false;
    }
    int end = layers[n - 1][0].from + duration[first[j] + n - 1];
    time[n] = end;
    for (int k = n - 1; k >= 0; k--) {  // and back, as late as possible
        int v = first[j] + k, p = duration[v], found = -1;
        for (size_t i = 0; i < layers[k].size(); i++)
            if (layers[k][i].from + p <= end && end <= layers[k][i].to) found = i;
        if (found < 0) return false;
        place[k] = layers[k][found].place;
        int latest = end - p, best = k ? -1 : latest;
        if (k)
            for (auto& old : layers[k - 1]) {
                int when = min(latest, old.to);
                if (when >= layers[k][found].from && when >= old.from + duration[v - 1]) best = max(best, when);
            }
        if (best < 0) return false;
        time[k] = end = best;
    }
    Row order(n);
    iota(order.begin(), order.end(), 0);
    stable_sort(order.begin(), order.end(), [&](int a, int b) { return place[a] != place[b] ? place[a] > place[b] : a > b; });
    for (int k : order) {
        auto& row = sequence[machine_[first[j] + k]];
        row.insert(row.begin() + place[k], first[j] + k);
    }
    for (int k = 0; k <= n; k++) at[first[j] + k] = time[k];
    in[j] = 1;
    return shift(cap);
}

void remove(int j) {
    for (int k = 0; k < length_[j]; k++) {
        auto& row = sequence[machine_[first[j] + k]];
        row.erase(find(row.begin(), row.end(), first[j] + k));
    }
    in[j] = 0;
}

void turn() {
    int end = makespan();
    for (int j = 0; j < jobs; j++) {
        int f = first[j], n = length_[j];
        reverse(machine_.begin() + f, machine_.begin() + f + n);
        reverse(duration.begin() + f, duration.begin() + f + n);
        reverse(at.begin() + f, at.begin() + f + n + 1);
        for (int k = 0; k <= n; k++) at[f + k] = end - at[f + k];
    }
    for (auto& row : sequence) {
        reverse(row.begin(), row.end());
        for (int& v : row) v = 2 * first[job_of[v]] + length_[job_of[v]] - 1 - v;
    }
    turned = !turned;
    shift(FAR);
}

int main(int count, char** words) {
    if (count != 4 || scanf("%d %d", &jobs, &machines) != 2) return 1;
    double seconds = atof(words[1]);
    noise = 88172645463325252ull + 2654435761u * atoi(words[2]);
    double total = 0;
    int ops = 0;
    for (int j = 0; j < jobs; j++) {
        int n;
        if (scanf("%d", &n) != 1) return 1;
        first.push_back(nodes), length_.push_back(n), nodes += n + 1;
        for (int k = 0; k <= n; k++) {
            int machine = 0, ticks = 0;
            if (k < n && scanf("%d %d", &machine, &ticks) != 2) return 1;
            machine_.push_back(machine), duration.push_back(ticks), job_of.push_back(j);
            total += ticks, ops += k < n;
        }
    }
    auto empty = [] { sequence.assign(machines, Row()), in.assign(jobs, 0), at.assign(nodes, 0); };
    before.assign(nodes, -1);
    int best = FAR;
    auto report = [&] {
        if (makespan() >= best) return;
        best = makespan();
        bool back = turned;
        if (back) turn();
        printf("%d", makespan());
        for (int j = 0; j < jobs; j++)
            for (int k = 0; k < length_[j]; k++) printf(" %d", at[first[j] + k]);
        printf("\n"), fflush(stdout);
        if (back) turn();
    };
    auto gone = [] { return clock() / double(CLOCKS_PER_SEC); };

    vector<Row> kept_sequence;
    Row kept_at;
    double now = 1e18;
    Row order(jobs);
    iota(order.begin(), order.end(), 0);
    Row given;
    for (int value; int(given.size()) < ops && scanf("%d", &value) == 1;) given.push_back(value);
    for (int trial = 0; int(given.size()) < ops && trial < 20; trial++) {
        empty();
        for (int i = jobs - 1; i > 0; i--) swap(order[i], order[draw(i + 1)]);
        for (int j : order) insert(j, 0, 0, FAR);
        report();
        if (score() < now) now = score(), kept_sequence = sequence, kept_at = at;
    }
    if (int(given.size()) == ops) {
        empty(), fill(in.begin(), in.end(), 1);
        for (int j = 0, i = 0; j < jobs; j++)
            for (int k = 0; k < length_[j]; k++) at[first[j] + k] = given[i++], sequence[machine_[first[j] + k]].push_back(first[j] + k);
        for (auto& row : sequence) sort(row.begin(), row.end(), [](int a, int b) { return at[a] < at[b]; });
        if (!shift(FAR)) return 1;
        best = makespan(), now = score();
    } else {
        sequence = kept_sequence, at = kept_at;
    }
    double warm = atof(words[3]) * total / ops;  // temperature at the start, falling to 0; of the mean duration
    long moves = 0, accepted = 0;
    for (double t = gone(), began = t; t < seconds; t = gone()) {
        double heat = warm * (1 - (t - began) / (seconds - began)) + 1e-9;
        for (int batch = 0; batch < 20; batch++) {
            moves++;
            kept_sequence = sequence, kept_at = at;
            int goal = makespan(), out = 1 + draw(min(3, jobs - 1));
            Row taken;
            if (draw(2)) {
                while (int(taken.size()) < out) {
                    int j = draw(jobs);
                    if (in[j]) remove(j), taken.push_back(j);
                }
            } else {  // in the shop at about the same time
                int j = draw(jobs);
                vector<pair<int, int>> near;
                for (int i = 0; i < jobs; i++)
                    near.push_back({abs(at[first[i]] + at[first[i] + length_[i]] - at[first[j]] - at[first[j] + length_[j]]), i});
                sort(near.begin(), near.end());
                near.resize(min(jobs, 4 * out));
                while (int(taken.size()) < out) {
                    int i = near[draw(near.size())].second;
                    if (in[i]) remove(i), taken.push_back(i);
                }
            }
            bool good = shift(FAR);
            for (size_t i = 0; good && i < taken.size(); i++) good = insert(taken[i], uniform(), goal, 2 * goal);
            double then = good ? score() : 1e18;
            if (good && (then <= now || uniform() < exp((now - then) / heat))) {
                now = then, accepted++;
                if (makespan() < best) report();
            } else {
                sequence = kept_sequence, at = kept_at;
                fill(in.begin(), in.end(), 1);
            }
            if (moves % 200 == 0) turn(), now = score();
        }
    }
    fprintf(stderr, "%ld moves, %ld accepted\n", moves, accepted);
}
