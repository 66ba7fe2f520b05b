% subquery/2 hands the probability of a goal back as a number.
%% answer: p(0.25)  1
%% answer: likely(c)  1

0.25::a.
0.5::b.
c :- a.
c :- b.

p(P) :- subquery(a, P).
likely(X) :- subquery(c, P), P > 0.6, X = c.

query(p(_)).
query(likely(_)).
