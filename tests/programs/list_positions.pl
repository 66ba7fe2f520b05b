% nth0/3, nth1/3 and last/2 on a list that a choice selects.
%% answer: picked(p)  0.2
%% answer: picked(q)  0.55
%% answer: picked(r)  0.1
%% answer: second(q)  1
%% answer: end(r)  0.4
%% answer: end(q)  0.6
%% answer: where(1)  1
%% answer: where(0)  0.6

:- use_module(library(lists)).

0.4::row([p, q, r]); 0.6::row([q, q]).
0.5::index(0); 0.25::index(1); 0.25::index(2).

picked(X) :- row(L), index(I), nth0(I, L, X).
second(X) :- row(L), nth1(2, L, X).
end(X) :- row(L), last(L, X).
where(I) :- row(L), nth0(I, L, q).

query(picked(_)).
query(second(_)).
query(end(_)).
query(where(_)).
