% between/3 as a generator and as a test, length/2 in both directions.
%% answer: divisor(1)  1
%% answer: divisor(2)  0.8
%% answer: divisor(4)  0.3
%% answer: divisor(3)  0.2
%% answer: divisor(9)  0.2
%% answer: small  0.8
%% answer: pair([2, 2])  0.5
%% answer: pair([4, 4])  0.3
%% answer: pair([9, 9])  0.2
%% answer: pair([2, 4])  0
%% answer: pair([2, 9])  0
%% answer: pair([4, 2])  0
%% answer: pair([4, 9])  0
%% answer: pair([9, 2])  0
%% answer: pair([9, 4])  0

0.5::n(2); 0.3::n(4); 0.2::n(9).

divisor(D) :- n(N), between(1, N, D), 0 =:= N mod D.
small :- n(N), between(1, 5, N).
pair(L) :- length(L, 2), L = [A, B], n(A), n(B).

query(divisor(_)).
query(small).
query(pair(_)).
