% Three nodes choose a colour each: the probability that a triangle is properly coloured.
%% answer: clash  0.82
%% answer: proper  0.18

node(1).
node(2).
node(3).
edge(1, 2).
edge(2, 3).
edge(1, 3).

0.5::colour(N, red); 0.3::colour(N, green); 0.2::colour(N, blue) :- node(N).

clash :- edge(X, Y), colour(X, C), colour(Y, C).
proper :- \+ clash.

query(proper).
query(clash).
