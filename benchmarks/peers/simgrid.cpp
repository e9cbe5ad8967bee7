/* The workloads of benchmarks/peers as a SimGrid program (S4U, SimGrid 4).
 *
 * usage: simgrid JOB [--cfg=...]        (python -m benchmarks.peers writes jobs and gives the settings)
 *
 * A job is a text file of words, made from a scenario by benchmarks/peers/job.py: network, placement, pieces and the
 * compute times of every worker and step are those of the scenario, so the makespan must be parasim's.
 *
 *   mode ring | overlap | server
 *   network star HOSTS BANDWIDTH LATENCY                          bytes/s, seconds of each link and direction
 *   network fat LEVELS CHILDREN... PARENTS... BANDWIDTH LATENCY   per level, from the hosts up
 *   actors WORKERS SERVERS
 *   hosts HOST...                                 of the workers, then of the servers
 *   steps STEPS
 *   buckets COUNT {ELEMENTS SECONDS}...           in the order in which they are reduced; seconds of computing before
 *   itemsize BYTES
 *   compute SECONDS...                            forward pass: all steps of the first worker, then of the next
 *
 * ring     forward pass, backward pass, then an all-reduce of each bucket in a ring, every piece a message
 * overlap  the same, but each bucket is reduced by a second actor of the rank while the backward pass goes on
 * server   fetch; then steps of computing, pushing and fetching (no fetch after the last): a shard per server, and what
 *          comes from one server does not wait for the others
 *
 * Flows of CM02 share a link in inverse proportion to their latencies. In a fat tree these differ, and parasim shares
 * equally. So here only the cables of the hosts have a latency, and a factor by the number of links of a route makes it
 * what it must be: shares are equal then. Nothing else of the model is changed.
 */
#include <simgrid/s4u.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

namespace sg4 = simgrid::s4u;

static const double SPEED = 1e9; /* of every host, FLOP/s: any number will do */

struct Bucket {
  uint64_t elements;
  double seconds;
};

struct Job {
  std::string mode;
  int workers = 0, servers = 0, steps = 0;
  uint64_t itemsize = 0;
  std::vector<Bucket> buckets;
  std::vector<double> compute;

  double forward(int worker, int step) const { return compute[(size_t)worker * steps + step]; }
  /* bytes of piece p of n: elements [e p / n, e (p + 1) / n), as parasim cuts them */
  uint64_t piece(uint64_t elements, uint64_t p, uint64_t n) const
  {
    return (elements * (p + 1) / n - elements * p / n) * itemsize;
  }
};

static Job job;
static std::vector<sg4::Host*> hosts; /* by rank */
static uint64_t operations = 0;       /* messages, and steps of workers */
static double payload; /* something to point at */

static void compute(double seconds)
{
  if (seconds > 0)
    sg4::this_actor::execute(seconds * SPEED);
}

static std::vector<sg4::Host*> make_star(int count, double bandwidth, double latency)
{
  std::vector<sg4::Host*> all;
  auto* zone = sg4::Engine::get_instance()->get_netzone_root()->add_netzone_star("star");
  for (int i = 0; i < count; i++) {
    auto* host = zone->add_host("h" + std::to_string(i), SPEED);
    auto* link = zone->add_split_duplex_link("l" + std::to_string(i), bandwidth)->set_latency(latency)->seal();
    zone->add_route(host, nullptr, {{link, sg4::LinkInRoute::Direction::UP}}, true);
    all.push_back(host->seal());
  }
  zone->seal();
  return all;
}

static std::vector<sg4::Host*> make_fat(const std::vector<unsigned>& children, const std::vector<unsigned>& parents,
                                        double bandwidth, double latency)
{
  std::vector<sg4::Host*> all;
  auto* root = sg4::Engine::get_instance()->get_netzone_root();
  auto* zone = root->add_netzone_fatTree("fat", children.size(), children, parents,
                                         std::vector<unsigned>(children.size(), 1), bandwidth, 0.0,
                                         sg4::Link::SharingPolicy::SPLITDUPLEX);
  zone->set_host_cb([&all](sg4::NetZone* place, const std::vector<unsigned long>&, unsigned long id) {
    all.push_back(place->add_host("h" + std::to_string(id), SPEED)->seal());
    return all.back();
  });
  zone->seal();
  /* cables are named link_from_CHILD_PARENT_NUMBER_UP and _DOWN; hosts have the first numbers */
  const std::string start = "link_from_";
  for (auto* link : sg4::Engine::get_instance()->get_all_links())
    if (link->get_name().rfind(start, 0) == 0 && std::stoul(link->get_name().substr(start.size())) < all.size())
      link->set_latency(latency);
  root->set_latency_factor_cb([](double, const sg4::Host*, const sg4::Host*, const std::vector<sg4::Link*>& route,
                                 const std::unordered_set<sg4::NetZone*>&) { return route.size() / 2.0; });
  return all;
}

static void read_job(const char* path)
{
  std::ifstream in(path);
  if (not in)
    throw std::runtime_error(std::string("cannot read ") + path);
  std::vector<sg4::Host*> all;
  std::string word, kind;
  while (in >> word) {
    if (word == "mode")
      in >> job.mode;
    else if (word == "network") {
      double bandwidth, latency;
      size_t count;
      in >> kind >> count;
      std::vector<unsigned> children(count), parents(count);
      if (kind == "fat") {
        for (auto& number : children)
          in >> number;
        for (auto& number : parents)
          in >> number;
      }
      in >> bandwidth >> latency;
      all = kind == "fat" ? make_fat(children, parents, bandwidth, latency) : make_star(count, bandwidth, latency);
    } else if (word == "actors")
      in >> job.workers >> job.servers;
    else if (word == "hosts") {
      for (int rank = 0; rank < job.workers + job.servers; rank++) {
        size_t host;
        in >> host;
        hosts.push_back(all.at(host));
      }
    } else if (word == "steps")
      in >> job.steps;
    else if (word == "itemsize")
      in >> job.itemsize;
    else if (word == "buckets") {
      size_t count;
      in >> count;
      job.buckets.resize(count);
      for (auto& bucket : job.buckets)
        in >> bucket.elements >> bucket.seconds;
    } else if (word == "compute") {
      job.compute.resize((size_t)job.workers * job.steps);
      for (auto& seconds : job.compute)
        in >> seconds;
    } else
      throw std::runtime_error("unknown word in the job: " + word);
  }
}

/* One all-reduce: in every round a piece goes to the next rank, and one comes from the rank before. */
static void all_reduce(uint64_t elements, uint64_t rank, sg4::Mailbox* next, sg4::Mailbox* mine)
{
  const uint64_t n = job.workers;
  for (uint64_t round = 0; round < 2 * (n - 1); round++) {
    /* reduce-scatter begins with the piece before one's own, all-gather n - 1 rounds later with one's own */
    const uint64_t piece = (rank + 2 * n - 1 - round) % n;
    auto sent = next->put_async(&payload, job.piece(elements, piece, n));
    mine->get<double>();
    sent->wait();
    operations++;
  }
}

static void ring_worker(int rank)
{
  auto* next = sg4::Mailbox::by_name("r" + std::to_string((rank + 1) % job.workers));
  auto* mine = sg4::Mailbox::by_name("r" + std::to_string(rank));
  for (int step = 0; step < job.steps; step++) {
    operations++;
    compute(job.forward(rank, step));
    for (const auto& bucket : job.buckets)
      compute(bucket.seconds);
    for (const auto& bucket : job.buckets)
      all_reduce(bucket.elements, rank, next, mine);
  }
}

static void overlapping_worker(int rank, sg4::SemaphorePtr ready, sg4::SemaphorePtr reduced)
{
  for (int step = 0; step < job.steps; step++) {
    operations++;
    compute(job.forward(rank, step));
    for (const auto& bucket : job.buckets) {
      compute(bucket.seconds);
      ready->release();
    }
    reduced->acquire();
  }
}

static void reducer(int rank, sg4::SemaphorePtr ready, sg4::SemaphorePtr reduced)
{
  auto* next = sg4::Mailbox::by_name("r" + std::to_string((rank + 1) % job.workers));
  auto* mine = sg4::Mailbox::by_name("r" + std::to_string(rank));
  for (int step = 0; step < job.steps; step++) {
    for (const auto& bucket : job.buckets) {
      ready->acquire();
      all_reduce(bucket.elements, rank, next, mine);
    }
    reduced->release();
  }
}

/* A push to each server (if asked for), each followed by a fetch from that server (if asked for). */
static void talk(sg4::Host* self, bool push, bool fetch)
{
  const uint64_t elements = job.buckets.front().elements, shards = job.servers;
  auto server = [](uint64_t shard) { return hosts[job.workers + shard]; };
  if (shards == 1) {
    if (push)
      sg4::Comm::sendto(self, server(0), job.piece(elements, 0, 1));
    if (fetch)
      sg4::Comm::sendto(server(0), self, job.piece(elements, 0, 1));
    operations += push + fetch;
    return;
  }
  sg4::ActivitySet pending;
  std::vector<sg4::CommPtr> pushes;
  for (uint64_t shard = 0; shard < shards; shard++) {
    const uint64_t bytes = job.piece(elements, shard, shards);
    auto comm = push ? sg4::Comm::sendto_async(self, server(shard), bytes)
                     : sg4::Comm::sendto_async(server(shard), self, bytes);
    if (push)
      pushes.push_back(comm);
    pending.push(comm);
    operations++;
  }
  while (not pending.empty()) {
    auto done = pending.wait_any();
    for (uint64_t shard = 0; fetch && shard < pushes.size(); shard++)
      if (pushes[shard] == done) {
        pending.push(sg4::Comm::sendto_async(server(shard), self, job.piece(elements, shard, shards)));
        operations++;
      }
  }
}

static void server_worker(int rank)
{
  talk(hosts[rank], false, true);
  for (int step = 0; step < job.steps; step++) {
    operations++;
    compute(job.forward(rank, step));
    talk(hosts[rank], true, step + 1 < job.steps);
  }
}

static void start_actors()
{
  for (int rank = 0; rank < job.workers; rank++) {
    const std::string name = "w" + std::to_string(rank);
    if (job.mode == "ring")
      hosts[rank]->add_actor(name, [rank] { ring_worker(rank); });
    else if (job.mode == "server")
      hosts[rank]->add_actor(name, [rank] { server_worker(rank); });
    else {
      auto ready = sg4::Semaphore::create(0), reduced = sg4::Semaphore::create(0);
      hosts[rank]->add_actor(name, [=] { overlapping_worker(rank, ready, reduced); });
      hosts[rank]->add_actor("reducer of " + name, [=] { reducer(rank, ready, reduced); });
    }
  }
}

int main(int argc, char** argv)
{
  sg4::Engine engine(&argc, argv);
  if (argc != 2) {
    fprintf(stderr, "usage: %s JOB [--cfg=...]\n", argv[0]);
    return 2;
  }
  read_job(argv[1]);
  start_actors();
  const auto begun = std::chrono::steady_clock::now();
  const auto cpu = std::clock();
  engine.run();
  const double cpu_seconds = (double)(std::clock() - cpu) / CLOCKS_PER_SEC;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  printf("{\"makespan\": %.12g, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"operations\": %lu}\n",
         sg4::Engine::get_clock(), seconds, cpu_seconds, (unsigned long)operations);
  return 0;
}
