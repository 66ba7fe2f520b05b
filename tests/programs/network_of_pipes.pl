% Water reaches a house unless a valve on every way is shut; choices of valve states.
%% answer: water  0.48
%% answer: strong  0.35
%% answer: flows(1)  0.6
%% answer: flows(2)  0.9
%% answer: flows(3)  0.5

0.6::valve(1, open); 0.4::valve(1, shut).
0.7::valve(2, open); 0.2::valve(2, half); 0.1::valve(2, shut).
0.5::valve(3, open); 0.5::valve(3, shut).

flows(V) :- valve(V, open).
flows(V) :- valve(V, half).
water :- flows(1), flows(3).
water :- flows(2), flows(3).
strong :- valve(2, open), water.

query(water).
query(strong).
query(flows(_)).
