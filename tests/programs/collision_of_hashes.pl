% Four keys in five buckets: the probability that two of them share one.
%% answer: collision  0.808
%% answer: full(2)  0.008

key(K) :- between(1, 4, K).
1/5::bucket(K, 1); 1/5::bucket(K, 2); 1/5::bucket(K, 3); 1/5::bucket(K, 4); 1/5::bucket(K, 5) :- key(K).

collision :- bucket(K, B), bucket(L, B), K < L.
full(B) :- bucket(1, B), bucket(2, B), bucket(3, B).

query(collision).
query(full(2)).
