% One name with several arities is several predicates.
%% answer: p  0.2
%% answer: p(1)  0.3
%% answer: p(1,2)  0.4
%% answer: all  0.024
%% answer: chain  0.12

0.2::p.
0.3::p(1).
0.4::p(1, 2).

all :- p, p(1), p(1, 2).
chain :- p(X), p(X, _).

query(p).
query(p(_)).
query(p(_, _)).
query(all).
query(chain).
